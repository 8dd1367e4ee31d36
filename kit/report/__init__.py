"""Report: what a person looks at."""
