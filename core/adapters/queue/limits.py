"""What every queue refuses, so that a message that one backend takes is taken by all."""

from __future__ import annotations

import re
from typing import Final

from core.errors import Invalid
from core.ports import Message

MAX_BODY_BYTES: Final = 768 * 1024
"""A body of this size in base64 is SQS's 1 MiB exactly."""
_GROUP: Final = re.compile(r"[!-~]{1,128}")


def fault_of(message: Message) -> Invalid | None:
    """Why no queue will ever take `message`; None when it is fit to be sent."""
    if not 0 < len(message.body) <= MAX_BODY_BYTES:
        return Invalid(f"a message may have 1 to {MAX_BODY_BYTES} bytes, this one has {len(message.body)}")
    if message.group is not None and not _GROUP.fullmatch(message.group):
        return Invalid("a message's group is 1 to 128 printable ASCII characters without spaces")
    return None
