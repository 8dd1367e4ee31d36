"""Kaggle, through its official client alone: sign in, read, download, submit; every failure has its message.

The client is driven in a child process (`session.Kaggle`, `child`): importing it signs in and may end the process, its
calls have no time-out, and it writes on stdout. What it needs of the environment is passed on by name. No key, token
or signed address reaches a message, a log or a file (`credentials.redact`).
"""
