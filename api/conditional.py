"""Answers that a client may keep and ask for again by their `ETag` (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api import packing

# Kept by the client alone, and used again only once the service has said that it still may: an audit log's reader can
# lose its rights at any moment.
_CACHING: Final = "private, no-cache"


def conditional(request: Request, body: bytes, digest: bytes | None = None) -> Response:
    """The JSON `body` with the ETag of its SHA-256 (`digest`, where it is known); 304 for a client that has it.

    A 304 has the ETag of the 200 that it stands for: the weak one where that would have come packed.
    """
    etag = f'"{(digest or hashlib.sha256(body).digest()).hex()}"'
    headers = {"ETag": etag, "Cache-Control": _CACHING, "Vary": "Accept-Encoding"}
    if _is_known(etag, ",".join(request.headers.getlist("if-none-match"))):
        if packing.is_packed(len(body), ",".join(request.headers.getlist("accept-encoding"))):
            headers["ETag"] = "W/" + etag
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Whether the client has this form already: `*`, or one of a list, weak or not.

    The comparison is the weak one, so that a packed answer, whose ETag is made weak, is known again too.
    """
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in if_none_match.split(","))
