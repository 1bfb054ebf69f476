"""Events that fail validation, kept and flagged instead of refused, for a tenant that has chosen so."""
