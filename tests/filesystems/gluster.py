"""A real network file system on one machine: GlusterFS, two bricks, two clients as two nodes have.

    python gluster.py FOLDER

serves a volume below FOLDER until its standard input ends, so that nothing stays behind a test run
however that one ends. The servers live in network, process and mount namespaces of their own: they
use the ports and folders that GlusterFS always uses, and disturb no other GlusterFS here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "192.0.2.1"  # for documentation (RFC 5737); lives in the namespace only
VOLUME = "shared"
PROGRAMS = ("glusterd", "gluster", "glusterfs", "unshare", "nsenter", "ip", "umount")

# As process 1 of its namespace: when it ends, the kernel ends all servers that it started.
SERVER = """
set -eu
mkdir -p /var/lib/glusterd /var/log/glusterfs
mount --bind "$1/lib" /var/lib/glusterd
mount --bind "$1/log" /var/log/glusterfs
mount --bind "$1/run" /run
ip link set lo up
ip address add "$2/32" dev lo
glusterd --log-level WARNING
for _ in $(seq 150); do gluster pool list >/dev/null 2>&1 && break; sleep 0.1; done
gluster --mode=script volume create "$3" "$2:$1/brick-0" "$2:$1/brick-1" force >&2
gluster --mode=script volume start "$3" >&2
echo up
exec cat >/dev/null
"""


@dataclass(frozen=True)
class Client:
    """One node's view of the volume.

    Attributes:
        mount: Where it is mounted.
        process: Number of the process that every operation below `mount` goes through.
    """

    mount: Path
    process: int


@dataclass(frozen=True)
class Volume:
    """One GlusterFS volume, mounted twice."""

    a: Client
    b: Client


def unavailable() -> str | None:
    """Returns why GlusterFS cannot run here (programs or rights are missing); None if it can."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"GlusterFS needs {', '.join(absent)}"
    return "GlusterFS needs root" if os.geteuid() else None


@contextlib.contextmanager
def volume(folder: Path) -> Iterator[Volume]:
    """Serves a new volume below `folder` and mounts it twice, at ``folder/a`` and ``folder/b``.

    Raises RuntimeError, with the reason, if it does not come up.
    """
    keeper = subprocess.Popen(
        [sys.executable, __file__, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests, which then let go of it
        text=True,
    )
    try:
        ready = keeper.stdout.readline() if keeper.stdout else ""
        if not ready:
            raise RuntimeError(f"no GlusterFS: {keeper.communicate()[1]}")
        yield Volume(*(Client(folder / name, pid) for name, pid in json.loads(ready).items()))
    finally:
        keeper.communicate()  # ends its standard input, and waits for it


@contextlib.contextmanager
def blocked(client: Client) -> Iterator[None]:
    """Every operation on the client's mount blocks, as on a network file system whose server hangs.

    What was under way goes on afterwards as if nothing had been.
    """
    os.kill(client.process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(client.process, signal.SIGCONT)


def keep(folder: Path) -> None:
    """Serves and mounts the volume until standard input ends."""
    for name in ("lib", "log", "run", "brick-0", "brick-1", "a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (
        _server(folder) as namespace,
        _client(folder, "a", namespace) as a,
        _client(folder, "b", namespace) as b,
    ):
        print(json.dumps({"a": a, "b": b}), flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[int]:
    """The servers; the number of a process in their network namespace."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += ["bash", "-c", SERVER, "server", str(folder), ADDRESS, VOLUME]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        if process.stdout.readline() != "up\n":
            raise SystemExit("the servers did not start")
        try:
            yield process.pid
        finally:
            process.stdin.close()


@contextlib.contextmanager
def _client(folder: Path, name: str, namespace: int) -> Iterator[int]:
    """Mounts the volume at ``folder/name``; the number of the process that serves the mount."""
    mount = folder / name
    words = ["nsenter", f"--net=/proc/{namespace}/ns/net", "glusterfs", "--no-daemon"]
    words += [f"--volfile-server={ADDRESS}", f"--volfile-id={VOLUME}"]
    words += [f"--log-file={folder}/log/client-{name}", str(mount)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        try:
            _wait_for_mount(mount, process)
            yield process.pid
        finally:
            process.send_signal(signal.SIGCONT)
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
            process.kill()


def _wait_for_mount(mount: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while not mount.is_mount():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{mount} was not mounted")
        time.sleep(0.02)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
