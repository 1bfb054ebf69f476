"""Checks of what is deployed, offline: `make infra-check`.

A check is given the root of a tree and returns a line for each fault that it finds there. So that nobody trusts a check
that cannot fail, `planted` holds faults: each is put into a copy of the tree, and its check has to find it.
"""
