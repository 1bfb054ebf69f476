"""Writing events into files of the archive, and reading them back."""
