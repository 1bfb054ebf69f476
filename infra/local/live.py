"""Runs a command with real servers up: OpenSearch, MongoDB's stand-in and ElasticMQ, without Docker.

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

SERVERS: Final = {
    "opensearch": "OCELOT_TEST_OPENSEARCH_URL",
    "mongo": "OCELOT_TEST_MONGODB_URL",
    "elasticmq": "OCELOT_TEST_SQS_ENDPOINT_URL",
}
"""Each script, and the variable by which the tests are told the server's URL."""
# The first start of one builds it with every core, while the others are to answer.
_START_TIMEOUT: Final = "300"


class LiveFailed(RuntimeError):
    """A real server could not be installed or started; its script has said why on stderr."""


@contextmanager
def live_servers(folder: Path) -> Iterator[dict[str, str]]:
    """The variables of the running servers; raises `LiveFailed` unless every one of them is up."""
    started: list[str] = []
    try:
        with ThreadPoolExecutor(len(SERVERS)) as pool:
            starts = {name: pool.submit(_start, folder, name, started) for name in SERVERS}
        yield {variable: starts[name].result() for name, variable in SERVERS.items()}
    finally:
        for name in reversed(started):
            # Silent: the last line of a test run is the test runner's.
            subprocess.run([folder / name, "stop"], check=False, capture_output=True)  # noqa: S603


def _start(folder: Path, name: str, started: list[str]) -> str:
    script = folder / name
    if not os.access(script, os.X_OK):
        raise LiveFailed(f"{name}: no script {script}")
    running = subprocess.run([script, "status"], check=False, capture_output=True).returncode == 0  # noqa: S603
    if not running:
        started.append(name)  # before the start, so that a half-started one is stopped as well
    environment = {"OCELOT_LIVE_TIMEOUT": _START_TIMEOUT, **os.environ}
    done = subprocess.run(  # noqa: S603
        [script, "start"], check=False, stdout=subprocess.PIPE, text=True, env=environment
    )
    lines = done.stdout.split()
    if done.returncode != 0 or not lines:
        raise LiveFailed(f"{name}: its start failed with exit code {done.returncode}")
    return lines[-1]


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
