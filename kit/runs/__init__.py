"""Runs: fit, combine, decide, verify; everything computed lies under ``runs/NAME``."""
