"""Where the signing key comes from: given by a setting, or made once in the home folder and read by its owner only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from core.settings import BadSettings, Settings


def signing_key_pem(settings: Settings, generate: Callable[[], bytes]) -> bytes:
    """The PEM of the ES256 key; made by `generate` at the first start when no setting gives one."""
    if settings.signing_key is not None:
        return settings.signing_key.get_secret_value().replace("\\n", "\n").encode()
    if settings.signing_key_file is not None:
        try:
            return settings.signing_key_file.read_bytes()
        except OSError as error:
            raise BadSettings(f"OCELOT_SIGNING_KEY_FILE: cannot be read: {error.strerror}") from None
    return _made_once(settings.home / "signing-key.pem", generate)


def _made_once(path: Path, generate: Callable[[], bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written whole under another name, then linked: of two processes that start at once one key wins.
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(generate())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
