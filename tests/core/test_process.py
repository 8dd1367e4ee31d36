"""The process: memory that was freed is kept, so that it need not be asked for again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
CODE = """
import resource
from kit.core.process import set_up_process
{call}
blocks = [bytearray(b"x") * 2**20 for _ in range(100)]  # 100 MB
del blocks
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * resource.getpagesize() > 100e6)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
@pytest.mark.parametrize(("call", "is_kept"), [("set_up_process()", "True"), ("", "False")])
def test_freed_memory_is_kept(call, is_kept):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    finished = subprocess.run(
        [sys.executable, "-c", CODE.format(call=call)], cwd=HOME, env=environment, capture_output=True, text=True
    )
    assert finished.stdout.strip() == is_kept, finished.stderr
