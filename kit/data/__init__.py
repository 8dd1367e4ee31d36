"""Data: the image table, its audit, the folds and the decoded images."""
