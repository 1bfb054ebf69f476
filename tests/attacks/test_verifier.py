"""The same bad tokens at the check itself, without a service: quick enough for the trials of `make mutants`."""

from __future__ import annotations

import pytest

from api.tokens import SigningKey, TokenVerifier
from core.errors import Unauthenticated
from tests.attacks.forged import BAD, Forge

PEM = SigningKey.generate()
TENANT = "aaaaaaaaaaaaaaaa"
LATER = {"tenant that does not exist", "tenant cut"}
"""Well-formed: who there is, is looked up afterwards."""


@pytest.fixture(scope="module")
def verifier() -> TokenVerifier:
    return TokenVerifier(SigningKey(PEM), "ocelot", "ocelot-api")


def test_a_good_token_is_taken(verifier: TokenVerifier) -> None:
    forge = Forge(PEM, TENANT)
    for token in (
        forge.token(),
        forge.token({"typ": "at+JWT"}),
        forge.token({"typ": None}),
        forge.token(aud=["ocelot-api"]),
    ):
        assert verifier.verify(token).tenant_id == TENANT


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind not in LATER])
def test_a_bad_token_is_none(verifier: TokenVerifier, kind: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(BAD[kind](Forge(PEM, TENANT)))
