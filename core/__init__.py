"""What an audit event is and what may be done with it; knows no web framework and no main loop."""
