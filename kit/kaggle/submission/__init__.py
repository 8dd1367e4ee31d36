"""Submitting: the gate that a file passes, the sending that burns no slot twice, and what Kaggle's scores say after.

Reads and writes the ledger; talks to Kaggle through `kit.kaggle.client` alone.
"""
