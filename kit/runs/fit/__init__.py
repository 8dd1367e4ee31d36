"""Fit: one fold fitted, runs x folds, a fitted model restored, a setting chosen after the fit."""
