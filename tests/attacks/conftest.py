"""The running service of the flow tests, here too."""

from __future__ import annotations

from tests.flow.conftest import running, tenant

__all__ = ["running", "tenant"]
