"""Which rules a tenant may have, and that they are compiled once for each change."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Final

import pytest

from core import aside as module
from core.aside import LARGE, Aside
from core.errors import Invalid, Unavailable
from core.masking.own import Maskers, OwnMasker, check_rules
from core.masking.own.limits import MAX_PATTERNS, MAX_PROGRAM, MAX_RULES
from core.masking.own.paths import parse
from core.masking.own.program import Program
from core.masking.own.steps import NO_RULE, Steps
from core.tenant import Tenant
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

GOOD = MaskingRule(MaskBy.KEY, "ssn", MaskAction.REDACT)
LINE = b'{"action":"x","severity":"INFO","metadata":{"ssn":"1","password":"2"}}\n'

BAD = {
    "key": ["", "-_.", "*", "a*b", "***a", "x" * 257, "\ud800"],
    "path": [
        "", "metadata.a", "$", "$.", "$metadata", "$.metadata.", "$.metadata..", "$.metadata.[0]", "$...a",
        "$.metadata.items[-1]", "$.metadata.items[01]", "$.metadata.items[0:1]", "$.metadata.items[0,1]",
        "$.metadata[?(@.a)]", "$.metadata['a'", "$.metadata[\"a']", "$.metadata['']", "$.metadata['\\x']",
        "$.metadata['\\ud800']", "$.metadata.a-b", "$.metadata a", " $.metadata", "$.*",
        "$[0]", "$[0].a", "$..*", "$.*[0]",
        "$.action", "$['severity']", "$.timestamp.x", "$.id", "$.nothing", "$.metadata" + ".a" * 32, "$.a" * 200,
    ],
    "pattern": [
        "", "(", "a**", "a*", "x{0,3}", "^", "$", "a|", "(?=a)b", "(a)\\1", "(?<!a)b", "a{1001}", "\\pL{50}",
        "[a-z", "(?:[a-z]|b)*a.{999}", "\\p{L}+",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("by", "match"), [(by, match) for by, found in BAD.items() for match in found])
def test_a_bad_rule_is_named(by: str, match: str) -> None:
    bad = MaskingRule(MaskBy(by), match, MaskAction.HASH)
    with pytest.raises(Invalid) as caught:
        check_rules([GOOD, bad], ("body", "masking"))
    [fault] = caught.value.errors
    assert (fault.loc, fault.type) == (("body", "masking", 1, "match"), "masking_rule")
    assert caught.value.code == "invalid_request"
    assert repr(match) in caught.value.message
    caught.value.message.encode()


def test_every_bad_rule_is_named_and_one_too_many() -> None:
    bad = MaskingRule(MaskBy.PATTERN, "(", MaskAction.HASH)
    with pytest.raises(Invalid) as caught:
        check_rules([bad, GOOD, GOOD, bad])
    assert [fault.loc[2] for fault in caught.value.errors] == [0, 2, 3]
    many = [dataclasses.replace(GOOD, match=f"k{n}") for n in range(MAX_RULES + 1)]
    check_rules(many[:-1])
    with pytest.raises(Invalid) as caught:
        check_rules(many)
    assert caught.value.errors[0].loc == ("body", "rules")


@pytest.mark.parametrize(
    ("patterns", "fault"),
    [
        ([f"a{n}" for n in range(MAX_PATTERNS + 1)], MAX_PATTERNS),
        (["a{150}", "b{150}", "c{150}", "d{150}"], 3),
        (["a{450}"], None),
    ],
)
def test_patterns_are_bounded_in_number_and_size(patterns: Sequence[str], fault: int | None) -> None:
    rules = [MaskingRule(MaskBy.PATTERN, pattern, MaskAction.REDACT) for pattern in patterns]
    if fault is None:
        check_rules(rules)
        return
    with pytest.raises(Invalid) as caught:
        check_rules(rules)
    [found] = caught.value.errors
    assert found.loc[2] == fault
    assert str(MAX_PROGRAM) in found.msg or str(MAX_PATTERNS) in found.msg


def test_what_a_path_may_be() -> None:
    found = parse("$.metadata['a\\u0041\\'\"']..[\"b\\n\"][*][0]..*.é_1..x")
    assert [segment.name for segment in found] == [
        b"metadata", b"aA'\"", b"b\n", None, None, None, "é_1".encode(), b"x",
    ]  # fmt: skip
    assert [segment.index for segment in found] == [None, None, None, None, 0, None, None, None]
    assert [segment.anywhere for segment in found] == [False, False, True, False, False, True, False, True]


def test_what_a_hostile_event_brings_is_not_remembered_for_paths() -> None:
    program = Program()
    program.add(MaskingRule(MaskBy.PATH, "$.metadata..a..b[7]", MaskAction.REDACT))
    steps = Steps(program)
    states, _ = steps.into(steps.begin([0]), b"metadata")
    answers = {steps.into(states, b"n%d" % n) for n in range(1000)}
    answers |= {steps.into(states, None, n) for n in range(8, 1000)}
    assert answers == {(states, NO_RULE)}
    assert len(steps.taken) == 3


TENANT = Tenant("acme0000", "Acme", bytes(32), 1)


def test_rules_are_compiled_once_for_each_change() -> None:
    maskers = Maskers()
    assert maskers.of(TENANT) is None
    ruled = dataclasses.replace(TENANT, masking=(GOOD,))
    first = maskers.of(ruled)
    assert first is not None
    # Each reading of the record makes the rules anew.
    again = dataclasses.replace(ruled, masking=(dataclasses.replace(GOOD),), revision=9)
    assert maskers.of(again) is maskers.of(ruled) is first
    changed = maskers.of(dataclasses.replace(ruled, masking=(dataclasses.replace(GOOD, match="iban"),)))
    assert changed is not first
    assert changed is not None
    assert changed.mask(b'{"metadata":{"iban":1,"ssn":2}}') == b'{"metadata":{"iban":"[masked]","ssn":2}}'
    assert maskers.of(TENANT) is None
    other = maskers.of(dataclasses.replace(ruled, id="other000", secret=b"x" * 32))
    assert other is not first


def test_only_so_many_stay_compiled() -> None:
    maskers = Maskers()
    tenants = [dataclasses.replace(TENANT, id=f"tenant{n:03}", masking=(GOOD,)) for n in range(257)]
    found = [maskers.of(tenant) for tenant in tenants]
    assert maskers.of(tenants[1]) is found[1]
    assert maskers.of(tenants[0]) is not found[0]


def test_rules_that_do_not_compile_let_nothing_in() -> None:
    bad = dataclasses.replace(TENANT, masking=(dataclasses.replace(GOOD, match="*"),))
    with pytest.raises(Unavailable):
        Maskers().of(bad)


class Watched(OwnMasker):
    """Knows which threads it masked in."""

    def __init__(self) -> None:
        super().__init__([GOOD], bytes(32))
        self.threads: list[str] = []

    def mask(self, item: bytes) -> bytes:
        self.threads.append(threading.current_thread().name.rpartition("_")[0] or "loop")
        return super().mask(item)


LARGER: Final = LINE.replace(b'"INFO",', b'"INFO","message":"%s",' % (b"a" * LARGE))


@pytest.mark.parametrize(
    ("lines", "seconds", "threads"),
    [
        ([LINE, LINE], 60.0, ["loop", "loop"]),
        ([LINE, LARGER, LINE], 60.0, ["loop", "own-masking", "own-masking"]),
        ([LINE, LINE], -1.0, ["own-masking"] * 2),
        ([], 60.0, []),
    ],
    ids=["usual ones", "a large one", "once they take long", "none"],
)
async def test_what_takes_long_goes_aside(
    lines: list[bytes], seconds: float, threads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG", seconds)
    own, kept = Watched(), list(lines)
    await Aside().mask(kept, own)
    assert own.threads == threads
    assert [line.endswith(b'{"ssn":"[masked]","password":"[masked]"}}\n') for line in kept] == [True] * len(lines)


async def test_patterns_that_were_slow_once_work_aside_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    own, aside = Watched(), Aside()
    moments = iter([0.0, 0.0, 0.0, 5 * module.LONG, 0.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(moments))
    plain = LINE.replace(b"password", b"colour")
    await aside.mask([plain, plain], own)
    monkeypatch.undo()
    await aside.mask([plain], own)
    assert own.threads == ["loop", "own-masking", "own-masking"]
