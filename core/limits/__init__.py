"""Quotas and rate limits, and the usage that they are checked against; docs/limits.md derives how well they hold."""

from __future__ import annotations

from core.limits.limiter import Limiter, Use
from core.limits.sharing import Sharing

__all__ = ["Limiter", "Sharing", "Use"]
