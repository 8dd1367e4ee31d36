"""The kit from Python."""
