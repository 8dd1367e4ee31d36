"""Kaggle: all that Kaggle sees or says."""
