"""Request bodies that are one small JSON document of a known shape."""

from __future__ import annotations

from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api import bodies
from core.errors import FieldError, Invalid

_Model = TypeVar("_Model", bound=BaseModel)
MAX_BODY_BYTES: Final = 16 * 1024


async def read_body(request: Request, model: type[_Model], limit: int = MAX_BODY_BYTES) -> _Model:
    """The body as `model`, read within `limit` bytes and only once the caller is known: no signature may name it."""
    if bodies.media_type(request) not in ("", "application/json"):
        raise Invalid("Content-Type must be application/json", code="unsupported_media_type")
    body = await bodies.read(request, limit)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [FieldError(("body", *fault["loc"]), fault["msg"], fault["type"]) for fault in found]
        detail = "; ".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults)
        raise Invalid(detail, code="invalid_request", errors=faults) from None
