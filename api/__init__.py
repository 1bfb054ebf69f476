"""The REST API: takes events in, answers searches; everything it knows of events is in `core`."""

from typing import Final

PREFIX: Final = "/api/v1"
"""Before every path of the API but that of the metrics."""
