"""The documentation's site: its links out of docs/, and a place in its menu for every page."""

from __future__ import annotations

import re

import pytest

from infra.site import named
from tests.service import ROOT


def test_every_page_is_in_the_menu_once_and_nothing_else_is() -> None:
    menu = re.findall(r"^ {6}- [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(menu) == sorted([*pages, "adr/README.md"])


def test_a_file_of_the_repository_is_named_by_its_path() -> None:
    assert named("see [`.env.example`](../.env.example).", "settings.md") == "see `.env.example`."
    assert named("[servers](../infra/local/live.py#L3)", "deploy.md") == "servers (`infra/local/live.py`)"
    assert named("[all](../../README.md)", "adr/0001-x.md") == "all (`README.md`)"


def test_links_within_the_documents_stay() -> None:
    text = "[a](../search.md#words) and [b](keys.md)"
    assert named(text, "adr/0001-x.md") == text


def test_a_file_that_is_not_there_fails() -> None:
    with pytest.raises(FileNotFoundError, match=r"^faq\.md: infra/nothing\.yml is not in the repository$"):
        named("[x](../infra/nothing.yml)", "faq.md")
