"""Memory that is kept: the kernel does not clear the same pages again in every step."""

import os
import platform
import subprocess
import sys

import pytest

GLIBC = tuple(map(int, (platform.libc_ver()[1] or "0").split(".")))

PROGRAM = """
import resource, sys
import numpy as np
from hvcod.groups.memory import keep_memory

if sys.argv[1:] == ["keep"]:
    keep_memory()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = np.ones(2**24)
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@pytest.mark.skipif(
    GLIBC < (2, 35),
    reason="before version 2.35 the GNU C library keeps blocks of up to 32 MiB",
)
@pytest.mark.parametrize(
    ("words", "variables", "kept"),
    [
        (["keep"], {}, True),
        ([], {}, False),
        (["keep"], {"MALLOC_MMAP_THRESHOLD_": "131072"}, False),
    ],
)
def test_blocks_are_cleared_once(words: list[str], variables: dict[str, str], kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    # 128 MiB have 32768 pages of 4 KiB, or 64 huge ones.
    assert (int(done.stdout) < 10) is kept
