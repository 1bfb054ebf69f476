"""Every setting of the containers, from the catalogue of `core.settings`: `python -m infra.aws.settings` writes them.

What is a secret is not among them: it comes from the Parameter Store.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from infra.settings_page import settings

FILE: Final = Path(__file__).parent / "settings.env"
_HEAD: Final = """\
# Every setting of both containers on AWS that is no secret; ${...} is filled in by infra/aws/containers.py.
# Made by `make aws-tasks` from core/settings.py and infra/aws/settings.py.
"""
DIFFERS: Final = {
    "OCELOT_QUEUE": "sqs",
    "SQS_QUEUE_URL": "https://sqs.${AWS_REGION}.amazonaws.com/${AWS_ACCOUNT_ID}/ocelot-${OCELOT_STAGE}-events",
    "AWS_REGION": "${AWS_REGION}",
    "OCELOT_HOME": "/var/lib/ocelot",
    "OPENSEARCH_AUTH": "sigv4",
    "ARCHIVE_URL": "s3://ocelot-${OCELOT_STAGE}-archive-${AWS_ACCOUNT_ID}-${AWS_REGION}/archive",
    "ARCHIVE_LOCK_DAYS": "${ARCHIVE_LOCK_DAYS}",
    "OCELOT_PUBLIC_URL": "${OCELOT_PUBLIC_URL}",
    "OCELOT_TRUSTED_PROXIES": "${OCELOT_TRUSTED_PROXIES}",
    # With what is in flight twice over, at its worst, the container stays well below its limit.
    "OCELOT_MAX_IN_FLIGHT_BYTES": str(128 * 1024 * 1024),
    "OCELOT_MAX_TENANT_IN_FLIGHT_BYTES": str(32 * 1024 * 1024),
}
"""Where AWS differs from the defaults."""


def text() -> str:
    """The file's text: the whole catalogue in its own order, so that a new setting is there by being a setting."""
    plain = [setting for setting in settings() if not setting.secret]
    return _HEAD + "".join(f"{each.name}={DIFFERS.get(each.name, each.default or '')}\n" for each in plain)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{FILE.name} is written\n")
