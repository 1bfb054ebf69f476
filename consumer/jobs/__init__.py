"""Work that runs beside the main loop, each on its own clock."""
