"""The running service of the flow tests, here too."""

from __future__ import annotations

from tests.flow.conftest import idp, running, tenant

__all__ = ["idp", "running", "tenant"]
