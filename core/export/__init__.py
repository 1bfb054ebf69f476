"""Whole answers as files: every event of a query, oldest first, in one of four forms."""
