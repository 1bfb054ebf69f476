"""A tenant's own masking rules: what they change and what they leave, byte for byte."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence

import pytest

from core.masking.own import OwnMasker
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

SECRET = bytes(32)
ACTIONS = {"remove": MaskAction.REMOVE, "redact": MaskAction.REDACT, "hash": MaskAction.HASH}


def rules(*texts: str) -> list[MaskingRule]:
    """From `key remove ssn`."""
    found = []
    for text in texts:
        by, action, match = text.split(" ", 2)
        found.append(MaskingRule(MaskBy(by), match, ACTIONS[action]))
    return found


def masked(sent: str, *texts: str, secret: bytes = SECRET) -> str:
    """The event as these rules leave it; both ways, and again."""
    masker = OwnMasker(rules(*texts), secret)
    item = sent.encode()
    kept = masker.mask(item)
    assert masker.mask_slowly(item) == masker.masked(item).item == kept
    assert masker.mask(kept) == kept
    return kept.decode()


def event(metadata: str, before: str = "") -> str:
    return f'{{"action":"ssn",{before}"severity":"INFO","metadata":{metadata}}}\n'


REMOVED = {
    "the only one": ('{"ssn":1}', "{}"),
    "the first": ('{ "ssn" : 1 , "b":2}', '{  "b":2}'),
    "the last": ('{"a":1 , "ssn":"x" }', '{"a":1  }'),
    "one between": ('{"a":1, "ssn":"x", "b":2}', '{"a":1, "b":2}'),
    "several on end": ('{"a":1,"ssn":1,"SSN":[2],"s-s_n":{"x":{"y":"}"}}}', '{"a":1}'),
    "several at the beginning": ('{"ssn":1,"SSN":{"a":[]},"b":2,"ssn":3}', '{"b":2}'),
    "all of many": ('{"ssn":1,"SSN":2, "ssn":3}', "{ }"),
    "in an array": ('[{"ssn":1},{"b":{"ssn":"2"}}]', '[{},{"b":{}}]'),
    "an escaped name": (r'{"\u0073\u0053n":1,"b":"\u0041"}', r'{"b":"\u0041"}'),
    "in JSON in a string": (r'{"m":"{\"ssn\":\"1\", \"b\":\"\\n\"}"}', r'{"m":"{ \"b\":\"\\n\"}"}'),
    "escaped in JSON in JSON": (
        r'{"m":"{\"n\":\"[{\\\"s\\\\u0073n\\\":77}, 1e400]\"}"}',
        r'{"m":"{\"n\":\"[{}, 1e400]\"}"}',
    ),
    "what only looks so": (
        '{"ssn2":1,"assn":2,"a":"ssn","b":["ssn",":"],"c":"\\"ssn\\":1"}',
        '{"ssn2":1,"assn":2,"a":"ssn","b":["ssn",":"],"c":"\\"ssn\\":1"}',
    ),
    "numbers no float holds": ('{"a":1e400,"ssn":0,"b":123456789012345678901234567890}', None),
}


@pytest.mark.parametrize(("metadata", "kept"), REMOVED.values(), ids=REMOVED.keys())
def test_a_removed_member_goes_with_one_comma_and_nothing_else(metadata: str, kept: str | None) -> None:
    kept = metadata.replace('"ssn":0,', "") if kept is None else kept
    if kept.startswith("["):
        metadata, kept = f'{{"in":{metadata}}}', f'{{"in":{kept}}}'
    assert masked(event(metadata), "key remove ssn") == event(kept)
    json.loads(kept)


REDACTED = {
    "a string": ('"x\\n"', '"[masked]"'),
    "a number": ("-1.5e3", '"[masked]"'),
    "a literal": ("true", '"[masked]"'),
    "null and what is empty": ('[null,"",{},[]]', '[null,"",{},[]]'),
    "all below": ('{"a":["x",{"b":2}]}', '{"a":["[masked]",{"b":"[masked]"}]}'),
    "JSON in a string": (r'"{\"a\":1}"', '"[masked]"'),
    "what is masked already": ('"[masked]"', '"[masked]"'),
}


@pytest.mark.parametrize(("value", "kept"), REDACTED.values(), ids=REDACTED.keys())
def test_a_redacted_value_keeps_its_shape(value: str, kept: str) -> None:
    assert masked(event(f'{{"tax-id":{value}}}'), "key redact taxId") == event(f'{{"tax-id":{kept}}}')


def test_equal_values_have_one_hash_wherever_they_stand() -> None:
    sent = event(
        r'{"email":"é@b","list":[{"Email":"\u00e9@b"}],"n":{"e_mail":12,"in":"{\"email\":\"12\"}"},"t":"to é@b, 12"}'
    )
    kept = json.loads(masked(sent, "key hash email", "pattern hash é@b"))["metadata"]
    first = kept["email"]
    assert len(first) == len("[hmac:]") + 22
    assert kept["list"][0]["Email"] == first
    assert kept["t"] == f"to {first}, 12"
    assert json.loads(kept["n"]["in"])["email"] == kept["n"]["e_mail"] != first
    other = json.loads(masked(sent, "key hash email", secret=b"x" * 32))["metadata"]
    assert other["email"] != first


def test_a_hash_is_a_known_one() -> None:
    # The format is written down for those who compute it elsewhere.
    kept = masked(event('{"email":"ana@example.com"}'), "key hash email")
    assert kept == event('{"email":"[hmac:jfUaEo0F2EFZayK4Ngkl2g]"}')


NAMES = {
    "email": (["email", "E-Mail", "e_mail", "E MAIL", "user[email]"], ["emails", "xemail", "email2"]),
    "*email": (["email", "workEmail", "work.e-mail"], ["emails", "email_of"]),
    "email*": (["email", "emails", "e-mail.address"], ["workEmail"]),
    "*e-mail*": (["email", "workEmails"], ["mail", "emial"]),
    "größe": (["größe", "GRößE", "gr\\u00f6\\u00dfe", "gr-öße"], ["GRÖSSE"]),
    "a/b": (["a/b", "A\\/B"], ["ab", "a\\\\b"]),
    "😀": (["😀", "\\ud83d\\ude00"], ["😁"]),
}


@pytest.mark.parametrize(("match", "taken", "left"), [(k, *v) for k, v in NAMES.items()], ids=NAMES.keys())
def test_a_key_is_meant_in_every_spelling(match: str, taken: Sequence[str], left: Sequence[str]) -> None:
    for name in taken:
        name = "email" if name == "user[email]" else name
        assert masked(event(f'{{"{name}":1}}'), f"key remove {match}") == event("{}")
    for name in left:
        assert masked(event(f'{{"{name}":1}}'), f"key remove {match}") == event(f'{{"{name}":1}}')


TREE = '{"user":{"ssn":1,"e-mail":[{"ssn":2},{"ssn":3,"x":{"ssn":4}}],"n\'\\"":5},"json":"{\\"user\\":{\\"ssn\\":6}}"}'
PATHS = {
    "$.metadata.user.ssn": ['"ssn":1,'],
    "$['metadata']['user'][\"ssn\"]": ['"ssn":1,'],
    "$.metadata.user['e-mail'][1].ssn": ['"ssn":3,'],
    "$.metadata.user['e-mail'][*].ssn": ['"ssn":2', '"ssn":3,'],
    "$.metadata.*.ssn": ['"ssn":1,'],
    "$.metadata..ssn": ['"ssn":1,', '"ssn":2', '"ssn":3,', '"ssn":4', '\\"ssn\\":6'],
    "$..x.ssn": ['"ssn":4'],
    "$..user.ssn": ['"ssn":1,', '\\"ssn\\":6'],
    "$..['e-mail']..ssn": ['"ssn":2', '"ssn":3,', '"ssn":4'],
    "$.metadata.user['n\\'\"']": [',"n\'\\"":5'],
    '$.metadata.user["n\'\\""]': [',"n\'\\"":5'],
    "$.metadata.json.user.ssn": ['\\"ssn\\":6'],
    "$.metadata.SSN": [],
    "$.metadata.user.ssn.x": [],
    "$.metadata.user['e-mail'][9].ssn": [],
    "$.before_state..ssn": [],
}


@pytest.mark.parametrize(("path", "pieces"), PATHS.items(), ids=PATHS.keys())
def test_a_path_finds_what_the_standard_says(path: str, pieces: Sequence[str]) -> None:
    kept = TREE
    for piece in pieces:
        assert kept.count(piece) == 1
        kept = kept.replace(piece, "")
    assert masked(event(TREE), f"path remove {path}") == event(kept)


def test_an_item_that_is_removed_leaves_the_others_in_their_places() -> None:
    sent = event('{"a":[{"b":1}, "x" ,2]}')
    assert masked(sent, "path remove $.metadata.a[0]") == event('{"a":[null, "x" ,2]}')
    assert masked(sent, "path remove $.metadata.a[*]") == event('{"a":[null, null ,null]}')
    tags = '{"action":"a","severity":"INFO","tags":["x","y"]}\n'
    assert masked(tags, "path remove $.tags[0]") == tags.replace("x", "")


def test_metadata_as_a_whole() -> None:
    sent = event('{"a":{"b":[1,"x"]}}')
    assert masked(sent, "path remove $.metadata") == '{"action":"ssn","severity":"INFO"}\n'
    assert masked(sent, "path redact $.metadata") == event('{"a":{"b":["[masked]","[masked]"]}}')


SSN = r"\b\d{3}-\d{2}-\d{4}\b"
PATTERNS = {
    "in text": ('{"a":"id 123-45-6789, 123-45-67890"}', '{"a":"id [masked], 123-45-67890"}'),
    "in an array": ('["123-45-6789",["x 123-45-6789"]]', '["[masked]",["x [masked]"]]'),
    "hidden by escapes": (r'{"a":"\u0031\u0032\u0033-45\u002d6789\n"}', r'{"a":"[masked]\n"}'),
    "in a name": ('{"123-45-6789":{"b":"c"}}', '{"[masked]":{"b":"c"}}'),
    "in JSON in a string": (r'{"a":"{\"n\":\"123-45-6789\",\"m\":1}"}', r'{"a":"{\"n\":\"[masked]\",\"m\":1}"}'),
    "in JSON in JSON": (
        r'{"a":"{\"n\":\"{\\\"m\\\":\\\"\\\\u003123-45-6789\\\"}\"}"}',
        r'{"a":"{\"n\":\"{\\\"m\\\":\\\"[masked]\\\"}\"}"}',
    ),
    "across strings is none": ('["123-","45-6789"]', '["123-","45-6789"]'),
}


@pytest.mark.parametrize(("value", "kept"), PATTERNS.values(), ids=PATTERNS.keys())
def test_a_pattern_finds_text_wherever_it_stands(value: str, kept: str) -> None:
    assert masked(event(f'{{"v":{value}}}'), f"pattern redact {SSN}") == event(f'{{"v":{kept}}}')


def test_patterns_and_numbers() -> None:
    sent = event('{"a":123456789,"b":1234567890,"c":[-5],"d":true}')
    assert masked(sent, r"pattern redact ^\d{9}$") == sent.replace("123456789,", '"[masked]",')
    assert masked(sent, r"pattern remove \b\d{9}\b") == sent.replace("123456789,", "null,")
    kept = json.loads(masked(event('{"a":123456789,"b":"123456789"}'), r"pattern hash \d{9}"))["metadata"]
    assert kept["a"] == kept["b"]


@pytest.mark.parametrize(
    ("pattern", "text", "kept"),
    [
        ("^x+$", "xx", "[masked]"),
        ("^x+$", "xx y", None),
        (r"\Ax|y\z", "xyxy", "[masked]yx[masked]"),
        (r"(?i)ÄB", "aäb", "a[masked]"),
        (r"\p{^Greek}+\$", "a$", "[masked]"),
        (r"[^$^]x", "$xax", "$x[masked]"),
        (r"\Qa^b$\E", "a^b$", "[masked]"),
        (r"a\nb", "a\\nb", "[masked]"),
        ("a.b", "a\\\"b", "[masked]"),
        ("a/b", "a\\/b", "[masked]"),
        (r"card \S+", "card \\ud83d\\ude00x y", "[masked] y"),
        (r"x|masked|A+", "[masked] [hmac:AAAAAAAAAAAAAAAAAAAAAA] x", "[masked] [hmac:AAAAAAAAAAAAAAAAAAAAAA] [masked]"),
        (r"p=\S+", "p=[masked]x", "[masked]"),
        (r"p=.m", "a p=[masked] b", "a [masked] b"),
        (r"d\]x", "a[masked]xy", "a[masked]y"),
    ],
)  # fmt: skip
def test_patterns_are_those_of_re2(pattern: str, text: str, kept: str | None) -> None:
    sent = event(f'{{"a":"{text}"}}')
    assert masked(sent, f"pattern redact {pattern}") == event(f'{{"a":"{text if kept is None else kept}"}}')


def test_a_pattern_that_removes() -> None:
    sent = event('{"a":"x 123-45-6789 y","123-45-6789":{"b":1},"c":2}')
    assert masked(sent, f"pattern remove {SSN}") == event('{"a":"x  y","c":2}')


def test_a_string_of_too_many_hits_is_masked_whole() -> None:
    few, many = "a " * 1000, "a " * 1001
    assert masked(event(f'{{"m":"{few}"}}'), "pattern redact a") == event(f'{{"m":"{few.replace("a", "[masked]")}"}}')
    assert masked(event(f'{{"m":"{many}"}}'), "pattern redact a") == event('{"m":"[masked]"}')


def test_hits_in_more_strings_than_are_placed_are_all_masked() -> None:
    sent = event(json.dumps([["123-45-6789"] * 1500, "a"]).replace("[[", '{"a":[[').replace('"a"]', '"a"]}'))
    assert masked(sent, f"pattern redact {SSN}") == sent.replace("123-45-6789", "[masked]")


def test_json_in_strings_beyond_the_bound_is_masked_whole() -> None:
    text = '{"a":1,"ssn":"deep"}'
    for _ in range(10):
        text = json.dumps({"a": text})
    kept = masked(event(text), "key remove ssn")
    assert "deep" not in kept
    assert "[masked]" in kept
    json.loads(kept)


NAMED = (
    '{"action":"a","severity":"INFO","outcome":"denied","message":"m ana","user_id":"ana","session_id":"s",'
    '"ip_address":"203.0.113.7","user_agent":"u","resource_type":"t","resource_id":"r","request_id":"q",'
    '"trace_id":"c","source":"o","tags":["x","y"],"before_state":{"a":1},"metadata":{"user_id":"ana"}}\n'
)


def test_named_fields_are_masked_but_for_those_that_say_what_was_done_and_when() -> None:
    for name in json.loads(NAMED):
        kept = masked(NAMED, f"key remove {name}")
        left = json.loads(kept)
        if name in ("action", "severity", "outcome"):
            assert kept == NAMED
        else:
            assert name not in left
            assert name not in left.get("metadata", {})
            redacted = json.loads(masked(NAMED, f"key redact {name}"))
            assert redacted.get(name) == {
                "tags": ["[masked]"] * 2, "before_state": {"a": "[masked]"}, "metadata": {"user_id": "[masked]"},
                "ip_address": None,
            }.get(name, "[masked]")  # fmt: skip
    assert masked(NAMED, "pattern redact denied|INFO|action|outcome") == NAMED
    kept = json.loads(masked(NAMED, "path hash $.user_id", "pattern redact ana"))
    assert kept["user_id"].startswith("[hmac:")
    assert (kept["message"], kept["metadata"]["user_id"]) == ("m [masked]", "[masked]")


def test_an_address_stays_one_or_goes() -> None:
    def address(value: str, *texts: str) -> str | None:
        found: str | None = json.loads(masked(NAMED.replace("203.0.113.7", value), *texts)).get("ip_address")
        return found

    first, second = (address(value, "path hash $.ip_address") for value in ("203.0.113.7", "203.0.113.8"))
    assert first is not None
    assert second is not None
    assert first != second
    networks = {ipaddress.ip_network(f"{found}/48", strict=False) for found in (first, second)}
    assert len(networks) == 1
    assert networks.pop().subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert address("2001:DB8::0:1", "key hash ip-address") == address("2001:db8::1", "key hash ip-address")
    assert address("203.0.113.7", "pattern hash 203") == first
    assert address("203.0.113.7", "pattern redact 203") is None
    assert address("203.0.113.7", "pattern redact 204") == "203.0.113.7"


def test_the_first_of_two_rules_goes_before_and_a_removal_takes_all_in_it() -> None:
    sent = event('{"patient":{"id":7,"name":"x"},"b":1}')
    hashed = json.loads(masked(sent, "key hash id", "key redact patient"))["metadata"]["patient"]
    assert hashed["id"].startswith("[hmac:")
    assert hashed["name"] == "[masked]"
    redacted = '{"patient":{"id":"[masked]","name":"[masked]"},"b":1}'
    assert masked(sent, "key redact patient", "key hash id") == event(redacted)
    assert masked(sent, "key redact patient", "key remove id") == event(redacted)
    assert masked(sent, "key hash id", "key remove patient") == event('{"b":1}')
    assert masked(sent, "path redact $.metadata.patient", "path hash $.metadata.patient.id") == event(redacted)
    text = event('{"a":"abcd"}')
    assert masked(text, "pattern redact bc", "pattern remove ab|cd") == event('{"a":"[masked]"}')
    assert masked(text, "pattern remove ab|cd", "pattern redact bc") == event('{"a":""}')


def test_what_the_rules_do_not_find_comes_back_as_the_same_object() -> None:
    masker = OwnMasker(rules("key remove ssn", "path redact $.metadata.user", f"pattern hash {SSN}"), SECRET)
    for sent in (NAMED, event('{"a":"C:\\\\Users","b":[1,2,{"c":"d"}]}'), "", "{", '{"ssn":1'):
        item = sent.encode()
        assert masker.mask(item) is item


def test_what_each_rule_did_is_counted() -> None:
    masker = OwnMasker(rules("key remove ssn", "key hash none", f"pattern redact {SSN}"), SECRET)
    found = masker.masked(event('{"ssn":1,"a":"123-45-6789 123-45-6789","b":{"ssn":"123-45-6789"}}').encode())
    assert found.changes == {0: 2, 2: 2}
