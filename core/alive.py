"""A container's own health check, by Python's standard library alone: `python -m core.alive api`.

Exit code 0 when the process answers on its health address, 1 with one line when it does not. Alive is not ready: a
container is not to be killed because a database is away.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_SECONDS: Final = 4.0
_SERVICES: Final = {
    "api": ("PORT", 8000, "/api/v1/health"),
    "consumer": ("OCELOT_CONSUMER_PORT", 8001, "/health"),
}
"""Of each service: the setting that names its port, that port's default, and where it answers."""


def fault(service: str, environment: Mapping[str, str]) -> str | None:
    """Why the service of this machine is not alive; None when it is."""
    variable, default, path = _SERVICES[service]
    host = environment.get("OCELOT_HOST") or "0.0.0.0"
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    try:
        connection = http.client.HTTPConnection(host, int(environment.get(variable) or default), timeout=_SECONDS)
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return None if status == 200 else f"answered {status}"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in _SERVICES:
        sys.stderr.write(f"usage: python -m core.alive {'|'.join(_SERVICES)}\n")
        return 2
    found = fault(arguments[0], os.environ)
    if found is not None:
        sys.stderr.write(f"{arguments[0]}: {found}\n")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
