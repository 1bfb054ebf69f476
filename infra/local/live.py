"""Runs a command with real servers up: OpenSearch, MongoDB's stand-in, ElasticMQ and an S3, without Docker.

    python -m infra.local.live COMMAND...

The folder `OCELOT_LIVE` holds one script a server, with `start` (idempotent, prints the URL), `stop` and `status`.
A server that is up already is used and left as it is; one that is started here is stopped here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

SERVERS: Final = {
    "opensearch": "OCELOT_TEST_OPENSEARCH_URL",
    "mongo": "OCELOT_TEST_MONGODB_URL",
    "elasticmq": "OCELOT_TEST_SQS_ENDPOINT_URL",
    "s3": "OCELOT_TEST_S3_ENDPOINT_URL",
}
"""Each script, and the variable by which the tests are told the server's URL."""
# The first start of one builds it with every core, while the others are to answer.
_START_TIMEOUT: Final = "300"


class LiveFailed(RuntimeError):
    """A real server could not be installed or started; its script has said why on stderr."""


@contextmanager
def live_servers(folder: Path) -> Iterator[dict[str, str]]:
    """The variables of the running servers; raises `LiveFailed` unless every one of them is up."""
    for name in SERVERS:
        if not os.access(folder / name, os.X_OK):
            raise LiveFailed(f"{name}: no script {folder / name}")
    stopped = [name for name in SERVERS if not _is_up(folder / name)]
    starts: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in SERVERS:  # all at once: two of them fetch while the third is built
            starts[name] = _start(folder / name)
        yield {variable: _url(name, starts[name]) for name, variable in SERVERS.items()}
    finally:
        for start in starts.values():
            _end(start)
        for name in reversed(stopped):
            # Silent: the last line of a test run is the test runner's.
            subprocess.run([folder / name, "stop"], check=False, capture_output=True)  # noqa: S603


def _is_up(script: Path) -> bool:
    return subprocess.run([script, "status"], check=False, capture_output=True).returncode == 0  # noqa: S603


def _start(script: Path) -> subprocess.Popen[str]:
    """The running `start` of a server, in a session of its own, so that it ends with all that it runs."""
    environment = {"OCELOT_LIVE_TIMEOUT": _START_TIMEOUT, **os.environ}
    return subprocess.Popen(  # noqa: S603
        [script, "start"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _url(name: str, start: subprocess.Popen[str]) -> str:
    lines = start.communicate()[0].split()
    if start.returncode != 0 or not lines:
        raise LiveFailed(f"{name}: its start failed with exit code {start.returncode}")
    return lines[-1]


def _end(start: subprocess.Popen[str]) -> None:
    if start.poll() is None:
        os.killpg(start.pid, signal.SIGTERM)
        start.wait()


def run(folder: Path, command: Sequence[str]) -> int:
    """The exit code of `command`, run with the servers' variables set."""
    with live_servers(folder) as variables:
        process = subprocess.Popen(command, env={**os.environ, **variables})  # noqa: S603
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal's Ctrl-C has reached the command too; a second would cut its clean-up
            return process.wait()
        except SystemExit:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def _terminated(_signal: int, _frame: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    """The command line; 1 and a loud line when a server is missing."""
    signal.signal(signal.SIGTERM, _terminated)
    # A shell starts what it puts in the background with SIGINT ignored, and so would the command be, for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(os.environ.get("OCELOT_LIVE", "../shared/live"))
    try:
        return run(folder, sys.argv[1:])
    except LiveFailed as error:
        sys.stderr.write(f"\n*** THE REAL SERVERS ARE NOT UP: {error}\n\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
