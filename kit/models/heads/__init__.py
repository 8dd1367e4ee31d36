"""Heads: models on cached features."""
