"""The REST API: takes events in, answers searches; everything it knows of events is in `core`."""
