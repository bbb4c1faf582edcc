"""A disk that loses power: ext4 in a file, as root.

The kernel can shut a mounted ext4 down without writing what is still in memory
(`EXT4_IOC_SHUTDOWN`). Mounted again, it holds what had reached the disk, as after a power loss.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("mkfs.ext4", "mount", "umount")

_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2


@dataclass(frozen=True)
class Disk:
    """A mounted ext4.

    Attributes:
        image: The file that stands for the device.
        mount: Where it is mounted.
    """

    image: Path
    mount: Path

    def folder(self, name: str) -> Path:
        """Makes a folder that survives a loss of power."""
        made = self.mount / name
        made.mkdir()
        os.sync()
        return made

    def lose_power(self) -> None:
        """Loses all that is not on the disk yet, and mounts it again; nobody may use it."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(descriptor)
        # Processes that were killed let go of their files a moment later.
        end = time.monotonic() + 60
        words = ["umount", str(self.mount)]
        while subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < end, f"{self.mount} is in use"
            time.sleep(0.05)
        # Other tests make namespaces, in which the disk stays mounted, without its power.
        copy = self.image.with_suffix(".copy")
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        copy.rename(self.image)
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mount], check=True)


def unavailable() -> str | None:
    """Why there can be no such disk here, for want of programs or rights; None if there can."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"a disk that loses power needs {', '.join(absent)}"
    return "a disk that loses power needs root" if os.geteuid() else None


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """A disk of `size` bytes below a folder, until the block ends."""
    made = Disk(folder / "disk", folder / "mount")
    with made.image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", made.image], check=True)
    made.mount.mkdir()
    made._mount()
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", made.mount], check=True)
