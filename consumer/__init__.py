"""The consumer: takes envelopes from the queue, stores and indexes their events, and only then acknowledges."""
