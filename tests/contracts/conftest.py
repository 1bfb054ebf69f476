"""Fixtures that the store's suites share."""

from tests.contracts.stores import backend, database

__all__ = ["backend", "database"]
