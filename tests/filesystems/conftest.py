"""Real file systems to do harm on; they need root."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import missing
from filesystems import gluster


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    if os.geteuid():
        missing("mounting a small file system needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs"]
    if subprocess.run([*command, mount]).returncode:
        pytest.skip("no file system can be mounted on this machine")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gluster.Volume]:
    """A GlusterFS volume that is mounted twice, as on two nodes."""
    if reason := gluster.unavailable():
        missing(reason)
    # Not something that a package could give: whoever started this machine decided so.
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no FUSE on this machine: /dev/fuse cannot be opened")
    if subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"]).returncode:
        pytest.skip("no namespaces on this machine: unshare is not permitted")
    with gluster.volume(tmp_path_factory.mktemp("gluster")) as served:
        yield served
