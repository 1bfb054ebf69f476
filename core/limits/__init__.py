"""Quotas and rate limits, and the usage that they are checked against; docs/limits.md derives how well they hold."""

from __future__ import annotations

from core.limits.limiter import Limiter
from core.limits.sharing import Sharing
from core.limits.use import BulkUse, Use

__all__ = ["BulkUse", "Limiter", "Sharing", "Use"]
