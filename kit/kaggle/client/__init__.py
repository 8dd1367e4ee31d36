"""Client: Kaggle through its official client alone; every failure has its message.

The client runs in a child process: importing it signs in and may end the process, its calls have no time-out, and it
writes on stdout. The child gets a part of the environment, by name. No key, token or signed address reaches a message,
a log or a file. File by file::

    slug.py         a competition's name at Kaggle
    credentials.py  which credentials the client will use, and what is wrong with others
    failures.py     what to tell a person when a call fails
    child.py        the child process: it alone imports Kaggle's client
    session.py      calls to the child, with time-outs; reads are tried again, writes are not
    archive.py      a downloaded zip, unpacked safely
    download.py     a competition's files: downloaded, checked, unpacked
"""

from kit.kaggle.client.download import download_data
from kit.kaggle.client.slug import read_slug

__all__ = ["download_data", "read_slug"]
