"""What the site's builder needs beside mkdocs.yml: a page may name a file of the repository that is not in docs/."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_LINK: Final = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Links out of docs/ become the file's path, which must be there; called by MkDocs for each page."""
    return named(markdown, page.file.src_uri)


def named(markdown: str, source: str) -> str:
    """The page `source` with its links to files outside of docs/ as paths; raises for a file that is not there."""
    folder = posixpath.join("docs", posixpath.dirname(source))

    def path_of(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        if not (_ROOT / path).exists():
            raise FileNotFoundError(f"{source}: {path} is not in the repository")
        text = match[1].replace("`", "")
        return f"`{path}`" if text.endswith(posixpath.basename(path)) else f"{match[1]} (`{path}`)"

    return _LINK.sub(path_of, markdown)
