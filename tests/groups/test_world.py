"""What the world of a process that is alone leaves behind."""

import mmap
import os
from pathlib import Path

from hvcod.groups.world import leave_no_shared_memory


def test_shared_memory_of_a_process_that_is_alone_loses_its_name() -> None:
    kinds = ("mpich_shm_", "sm_segment.test.", "vader_segment.test.", "psm_of_a_script_")
    segments = [Path(f"/dev/shm/{kind}{os.getpid()}") for kind in kinds]
    strange = Path(f"/dev/shm/mpich_shm_{os.getpid()}_not_mapped")
    strange.touch()
    maps = []
    try:
        for segment in segments:
            segment.write_bytes(bytes(mmap.PAGESIZE))
            with segment.open("r+b") as file:
                maps.append(mmap.mmap(file.fileno(), mmap.PAGESIZE))
        leave_no_shared_memory()
        assert [segment.exists() for segment in segments] == [False, False, False, True]
        assert strange.exists()
        maps[0][:4] = b"used"
        leave_no_shared_memory()
    finally:
        for path in (*segments, strange):
            path.unlink(missing_ok=True)
