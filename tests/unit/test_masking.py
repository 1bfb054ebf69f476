"""What is masked and what is not, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.masking import DEFAULT, DEFAULT_RULES, Masker, Rules, mask
from core.masking.text import MAX_NAMES

CARD = "4111111111111111"

MASKED = {
    "a name": ('{"password":"hunter2"}', '{"password":"[masked]"}'),
    "white space stays": ('{ "password" :\n"hunter2" ,"b": 1 }', '{ "password" :\n"[masked]" ,"b": 1 }'),
    "the end of a name": ('{"db.userPassword2":"x"}', '{"db.userPassword2":"[masked]"}'),
    "a number": ('{"secret":1234}', '{"secret":"[masked]"}'),
    "a number in JSON in JSON": (
        r'{"m":"{\"a\":\"{\\\"secret\\\":77}\"}"}',
        r'{"m":"{\"a\":\"{\\\"secret\\\":\\\"[masked]\\\"}\"}"}',
    ),
    "a card in JSON without a backslash": (f'{{"m":"[{CARD}]"}}', r'{"m":"[\"[masked]\"]"}'),
    "leaves of an object": (
        '{"password":{"old":"a","new":["b",2,null,true,""]}}',
        '{"password":{"old":"[masked]","new":["[masked]","[masked]",null,true,""]}}',
    ),
    "all but the harmless names of credentials": (
        '{"credentials":{"accessKeyId":"ASIA1","expiration":"soon","sessionToken":"x"}}',
        '{"credentials":{"accessKeyId":"ASIA1","expiration":"soon","sessionToken":"[masked]"}}',
    ),
    "a header's list": ('{"Authorization":["Bearer x"]}', '{"Authorization":["[masked]"]}'),
    "an escaped name": (r'{"p\u0061ssword":"x"}', r'{"p\u0061ssword":"[masked]"}'),
    "a name escaped in JSON in a string": (
        r'{"m":"{\"p\\u0061ssword\":\"x\"}"}',
        r'{"m":"{\"p\\u0061ssword\":\"[masked]\"}"}',
    ),
    "both of a doubled name": ('{"pwd":"a","pwd":"b"}', '{"pwd":"[masked]","pwd":"[masked]"}'),
    "a value that looks like a literal": ('{"token":"true"}', '{"token":"[masked]"}'),
    "a value that begins with an escape": (r'{"token":"\"x"}', '{"token":"[masked]"}'),
    "a name and value pair": (
        '{"env":[{"name":"DB_PASSWORD","value":"x"},{"value":"y","name":"api-key"}]}',
        '{"env":[{"name":"DB_PASSWORD","value":"[masked]"},{"value":"[masked]","name":"api-key"}]}',
    ),
    "a pair's value with a card in it": (
        f'{{"value":"{CARD} 12/31","name":"api-key"}}',
        '{"value":"[masked]","name":"api-key"}',
    ),
    "a pair's number": ('{"name":"secret","value":12}', '{"name":"secret","value":"[masked]"}'),
    "an argument after its flag": ('{"args":["-v","--db-password","x"]}', '{"args":["-v","--db-password","[masked]"]}'),
    "key=value": ('{"m":"a password=x, b"}', '{"m":"a password=[masked], b"}'),
    "key: value": ('{"m":"token: x y"}', '{"m":"token: [masked] y"}'),
    "name:value of a password": ('{"m":"password:x y"}', '{"m":"password:[masked] y"}'),
    "a URL's query": (
        '{"m":"https://h/p?access_token=abc&x=1#f"}',
        '{"m":"https://h/p?access_token=[masked]&x=1#f"}',
    ),
    "a URL's password": ('{"m":"amqp://u:p%40w@h/v"}', '{"m":"amqp://u:[masked]@h/v"}'),
    "a URL with escaped slashes": (r'{"m":"https:\/\/u:pw@h"}', r'{"m":"https:\/\/u:[masked]@h"}'),
    "a flag": ('{"m":"run --password hunter2 --v"}', '{"m":"run --password [masked] --v"}'),
    "a flag right after a value": ('{"m":"pwd=a;--token b"}', '{"m":"pwd=[masked] [masked]"}'),
    "a flag's quoted value": (r'{"m":"run --token \"a b\" -v"}', r'{"m":"run --token \"[masked]\" -v"}'),
    "an escaped equals sign": (r'{"m":"password\u003dx"}', r'{"m":"password\u003d[masked]"}'),
    "a connection string": (
        '{"m":"Server=h;Password=a&b;AccountKey=k==;Database=d"}',
        '{"m":"Server=h;Password=[masked];AccountKey=[masked];Database=d"}',
    ),
    "Python's repr": ("""{"m":"{'password': 'a b', 'x': 1}"}""", """{"m":"{'password': '[masked]', 'x': 1}"}"""),
    "JSON cut short": (r'{"m":"{\"password\":\"abc\",\"t"}', r'{"m":"{\"password\":\"[masked]\",\"t"}'),
    "JSON in the midst of text": (r'{"m":"got {\"pwd\": \"a b\"}."}', r'{"m":"got {\"pwd\": \"[masked]\"}."}'),
    "XML": ('{"m":"<a><password>x y</password></a>"}', '{"m":"<a><password>[masked]</password></a>"}'),
    "a bearer header in text": (
        '{"m":"Authorization: Bearer abc.def-1 sent"}',
        '{"m":"Authorization: Bearer [masked] sent"}',
    ),
    "a bearer token alone": ('{"m":"bearer abcdefgh1"}', '{"m":"bearer [masked]"}'),
    "a basic header": ('{"m":"use Basic dXNlcjpwYXNz now"}', '{"m":"use Basic [masked] now"}'),
    "a digest": (r'{"m":"authorization: Digest u=\"x\", r=\"y\"\nz"}', r'{"m":"authorization: Digest [masked]\nz"}'),
    "cookies": (r'{"m":"-H \"Cookie: a=b; c=d\" x"}', r'{"m":"-H \"Cookie: [masked]\" x"}'),
    "a private key": (
        r'{"m":"x\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\ny"}',
        r'{"m":"x\n[masked]\ny"}',
    ),
    "a private key cut short": (r'{"m":"-----BEGIN PRIVATE KEY-----\nMII"}', '{"m":"[masked]"}'),
    "after multi-byte text": (
        '{"m":"é😀 pwd=x \\ud83d\\ude00\\n pwd=y é"}',
        '{"m":"é😀 pwd=[masked] \\ud83d\\ude00\\n pwd=[masked] é"}',
    ),
    "a card number": (f'{{"n":{CARD}}}', '{"n":"[masked]"}'),
    "a card in a name": (f'{{"{CARD}":1}}', '{"[masked]":1}'),
    "a card after an escape": (rf'{{"m":"\u00e9{CARD}\n"}}', r'{"m":"\u00e9[masked]\n"}'),
    "a card and its date": ('{"m":"4111 1111 1111 1111 12/31"}', '{"m":"[masked] 12/31"}'),
    "a card after another group": ('{"m":"1000 4111-1111-1111-1111"}', '{"m":"1000 [masked]"}'),
}

UNMASKED = {
    "nothing to find": '{"action":"user.login","user_id":"u"}',
    "empty, null and booleans": '{"password":"","token":null,"secret":true,"cookie":{},"credentials":[]}',
    "names that only begin so": '{"tokenType":"Bearer","passwordLastSet":"x","secretName":"s","secretArn":"arn"}',
    "Kubernetes' decision": '{"authorization.k8s.io/decision":"allow"}',
    "paging": '{"nextToken":"a","NextPageToken":"b","continuation-token":"c","clientToken":"d"}',
    "an IMDS setting": '{"httpTokens":"optional"}',
    "counts": '{"tokens":512,"failed_passwords":3}',
    "Azure's authorization object": '{"authorization":{"action":"write","scope":"/subscriptions/1"}}',
    "a reference to a secret": '{"volumes":[{"secret":{"secretName":"s","defaultMode":420}}]}',
    "an access key's record": '{"accessKey":{"accessKeyId":"AKIA1","status":"Active","userName":"u"}}',
    "labels": '{"action":"password:reset","tags":["secret:read","password:x"],"resource_id":"token:9"}',
    "an ARN": '{"a":"arn:aws:secretsmanager:us-east-1:1:secret:name-x"}',
    "Windows' elevated token": r'{"ElevatedToken":"%%1842","Message":"Elevated Token:\t\tYes\r\nx"}',
    "the working directory": '{"m":"sudo: PWD=/home/u ; USER=root"}',
    "a public key token": '{"m":"Culture=neutral, PublicKeyToken=b77a5c561934e089"}',
    "prose": '{"m":"basic authentication failed; bearer of news; secret is out"}',
    "a URL without a password": '{"m":"https://user@h:8080/a:b@c"}',
    "two to the 62nd": '{"Keywords":4611686018427387904,"k":"-9223372036854775808"}',
    "times": '{"ms":1700000000000,"us":1700000000000000,"ns":1700000000000000000}',
    "digits that fail Luhn": '{"n":4111111111111112,"s":"4111 1111 1111 1112"}',
    "digits inside more": f'{{"a":"1{CARD}","b":"x{CARD}","c":"0.{CARD}","d":{CARD}.5,"e":-{CARD}}}',
    "a GUID of digits": '{"a":"12345678-4111-1111-1111-111111111111"}',
    "what is masked already": '{"password":"[masked]","m":"password=[masked] u:[masked]@h"}',
    "numbers that floats cannot hold": '{"a":1e400,"b":123456789012345678901234567890,"c":-0.0}',
}

CARDS = {
    "Visa": ["4111111111111111", "4222222222222", "4012-8888-8888-1881", "4000 0000 0000 0000 006"],
    "Mastercard": ["5555555555554444", "5105 1051 0510 5100", "2223003122003222", "2720-9999-9999-9996"],
    "American Express": ["378282246310005", "3714 496353 98431"],
    "Discover": ["6011111111111117", "6011 0009 9013 9424", "6445644564456445"],
    "Diners Club": ["30569309025904", "3852 000002 3237"],
    "JCB": ["3530111333300000", "3566-0020-2036-0505"],
    "UnionPay": ["6200000000000005", "62000000000000000", "6200000000000000000"],
}


@pytest.mark.parametrize(("sent", "kept"), MASKED.values(), ids=MASKED.keys())
def test_secret_is_replaced_and_nothing_else(sent: str, kept: str) -> None:
    assert mask(sent.encode()).decode() == kept
    assert mask(kept.encode()).decode() == kept


@pytest.mark.parametrize("sent", UNMASKED.values(), ids=UNMASKED.keys())
def test_what_holds_no_secret_comes_back_as_the_same_object(sent: str) -> None:
    item = sent.encode()
    assert mask(item) is item
    assert DEFAULT.mask_slowly(item) is item


@pytest.mark.parametrize("number", [number for numbers in CARDS.values() for number in numbers])
def test_card_of_each_brand(number: str) -> None:
    assert mask(f'{{"m":"paid with {number}."}}'.encode()) == b'{"m":"paid with [masked]."}'
    if number.isdigit():
        assert mask(f'{{"n":[{number}]}}'.encode()) == b'{"n":["[masked]"]}'


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "Pass-Word", "pass_word", "passwd", "pwd", "passphrase", "userPassword", "password1",
        "user[password]", "db.password", "masterUserPassword", "client_secret", "clientSecret", "SecretAccessKey",
        "aws_secret_access_key", "SecretString", "token", "id_token", "refreshToken", "X-Amz-Security-Token",
        "sessionToken", "x-api-key", "apiKey", "API KEY", "accessKey", "private_key", "PrivateKey", "Authorization",
        "Proxy-Authorization", "cookie", "Set-Cookie", "cookies", "credential", "credentials", "passwords", "secrets",
        "jwt", "cvv", "AccountKey", "signing-key", "Token:",
    ],
)  # fmt: skip
def test_every_spelling_of_a_name(name: str) -> None:
    assert mask(json.dumps({"metadata": {name: "s3cr3t"}}).encode()) == (
        json.dumps({"metadata": {name: "[masked]"}}).encode()
    )


@pytest.mark.parametrize(
    "item",
    [
        b"", b"{", b"password", b'{"password":"x"', b'{"password":"x"}}', b'{"password":x}', b'{"password":"\\x"}',
        b'{"password":"\\ud800"}', b'{"password":"a\nb"}', b'{"password": 01}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_not_json_comes_back_unchanged(item: bytes) -> None:
    assert mask(item) is item


def planted() -> tuple[dict[str, Any], list[str]]:
    """An event with 200 secrets and the secrets."""
    secrets = [f"s3cr3t-{i:03}-value" for i in range(200)]
    left = iter(secrets)
    names = ["password", "apiKey", "X-Auth-Token", "client_secret", "Set-Cookie", "PASSWD", "private-key", "Pwd"]
    deep: Any = {"leaf": 1}
    for i in range(40):
        deep = {names[i % 8]: next(left), "in": [deep, i]}
    in_string = [{names[i % 8]: next(left), "i": i, "s": 'quote " and \\ backslash'} for i in range(40)]
    twice = json.dumps({"inner": json.dumps([{names[i % 8]: [next(left)]} for i in range(40)])}, ensure_ascii=False)
    message = "\n".join(f"{names[i % 8]}={next(left)};" for i in range(30))
    message += "\n".join(f"--{names[i % 8].lower()} {next(left)}" for i in range(20))
    event = {
        "action": "user.login",
        "message": message,
        "before_state": deep,
        "after_state": {"policy": json.dumps(in_string), "twice": twice},
        "metadata": {"é": [{"name": names[i % 8], "value": next(left)} for i in range(30)]},
    }
    assert next(left, None) is None
    return event, secrets


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 1])
def test_none_of_200_planted_secrets_survives(ascii_only: bool, indent: int | None) -> None:
    event, secrets = planted()
    sent = json.dumps(event, ensure_ascii=ascii_only, indent=indent).encode()
    kept = mask(sent)
    assert kept.count(b"[masked]") == 200
    assert not [secret for secret in secrets if secret.encode() in kept]
    assert sorted(json.loads(kept)) == sorted(event)


def test_secrets_hidden_by_escaping_every_letter() -> None:
    event, secrets = planted()
    hidden = "".join(f"\\u{ord(c):04x}" for c in event["message"])
    kept = mask(f'{{"message":"{hidden}"}}'.encode())
    assert not [secret for secret in secrets if secret in json.loads(kept)["message"]]


def test_json_in_strings_beyond_the_bound_is_masked_whole() -> None:
    text = '{"a":1,"password":"deep"}'
    for _ in range(10):
        text = json.dumps({"a": text})
    kept = mask(text.encode())
    assert b"password" not in kept
    assert b'\\"a' in kept
    json.loads(kept)


def test_a_string_of_too_many_names_is_masked_whole() -> None:
    few, many = "token=x or " * MAX_NAMES, "token=x or " * (MAX_NAMES + 1)
    assert mask(json.dumps({"m": few}).encode()) == json.dumps({"m": few.replace("=x", "=[masked]")}).encode()
    assert mask(json.dumps({"m": many, "n": "y"}).encode()) == b'{"m": "[masked]", "n": "y"}'


def test_a_masker_of_other_rules() -> None:
    rules = Rules(("blood-type",), (), ("public-blood-type",), frozenset(), frozenset(), cards=False)
    own = Masker(rules)
    sent = f'{{"blood_type":"0","publicBloodType":"A","password":"x","n":{CARD},"m":"blood type: B"}}'.encode()
    assert own.mask(sent) == sent.replace(b'"0"', b'"[masked]"').replace(b": B", b": [masked]")
    assert DEFAULT_RULES.cards
