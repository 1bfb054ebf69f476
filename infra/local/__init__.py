"""The embedded stack: two stores from PyPI wheels, the file queue, the API and the consumer on one machine."""
