"""Where Ocelot runs: the embedded stack of `make dev`, and later clouds and clusters."""
