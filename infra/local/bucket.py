"""Makes a bucket with object lock on another S3 than AWS's, unless it is there: for compose and for tests.

    python -m infra.local.bucket ENDPOINT BUCKET

The standard library alone, signed by AWS's Signature Version 4; the keys are AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY. Waits up to a minute for the S3, which starts at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

_PATIENCE: Final = 60.0
_REGION: Final = "us-east-1"
_NOTHING: Final = hashlib.sha256(b"").hexdigest()


def ensure(endpoint: str, bucket: str, key: str, secret: str, *, patience: float = _PATIENCE) -> None:
    """The bucket is there on return; raises `OSError` when the S3 does not answer, or refuses."""
    deadline = time.monotonic() + patience
    while True:
        try:
            status = _put(endpoint, bucket, key, secret)
        except (OSError, http.client.HTTPException) as error:
            status, last = 0, f"{type(error).__name__}: {error}"
        else:
            last = f"answered {status}"
        # 409: it is there already, and ours.
        if status in (200, 409):
            return
        if time.monotonic() >= deadline or 400 <= status < 500:
            raise OSError(f"no bucket {bucket} on {endpoint}: {last}")
        time.sleep(0.5)


def _put(endpoint: str, bucket: str, key: str, secret: str) -> int:
    parts = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=10)
    try:
        connection.request("PUT", f"/{bucket}", headers=_signed(parts.netloc, bucket, key, secret, datetime.now(UTC)))
        return connection.getresponse().status
    finally:
        connection.close()


def _signed(host: str, bucket: str, key: str, secret: str, now: datetime) -> dict[str, str]:
    """The headers of `PUT /bucket` with object lock, signed."""
    at = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": host,
        "x-amz-bucket-object-lock-enabled": "true",
        "x-amz-content-sha256": _NOTHING,
        "x-amz-date": at,
    }
    names = ";".join(headers)
    canonical = "\n".join(["PUT", f"/{bucket}", "", *(f"{n}:{v}" for n, v in headers.items()), "", names, _NOTHING])
    scope = f"{at[:8]}/{_REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = f"AWS4{secret}".encode()
    for part in (at[:8], _REGION, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, to_sign.encode(), "sha256").hex()
    credential = f"Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m infra.local.bucket ENDPOINT BUCKET\n")
        return 2
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)]
    if missing:
        sys.stderr.write(f"{missing[0]}: is required\n")
        return 2
    try:
        ensure(arguments[0], arguments[1], os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
