"""Curate: drafts that a person corrects: a competition.toml, labels, words, look-alikes."""
