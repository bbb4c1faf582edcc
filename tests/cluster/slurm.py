"""A real Slurm on one machine: four virtual nodes with host names and shared memory of their own.

    python slurm.py FOLDER

serves until its standard input ends, so that nothing is left after a test run, however it ends.
Controller, nodes and jobs live in a process namespace of their own and use free ports: another
Slurm on this machine is not disturbed, and whatever a job leaves running ends with the namespace.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NODES = 4
CPUS = 4
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "qsub", "srun", "unshare", "runuser")

CONFIGURATION = """\
ClusterName=hvcod
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/log/controller
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
MinJobAge=3600
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 State=UP
"""

# As process 1 of its namespace: when it ends, the kernel ends all daemons and jobs in it.
SERVER = """
set -eu
mount --bind "$1/hosts" /etc/hosts
runuser -u munge -- munged --force --key-file="$1/munge/key" --socket="$1/munge/socket" \
    --pid-file="$1/munge/pid" --log-file="$1/munge/log" --seed-file="$1/munge/seed"
export SLURM_CONF=$1/slurm.conf
slurmctld -c -f "$SLURM_CONF"
for node in $(seq "$2"); do
    unshare --mount --uts --propagation private bash -c '
        hostname "n$1"; mount -t tmpfs shm /dev/shm; exec slurmd -f "$SLURM_CONF" -N "n$1"
    ' - "$node"
done
echo up
exec cat >/dev/null
"""


@dataclass(frozen=True)
class Slurm:
    """A Slurm that is running.

    Attributes:
        configuration: Its slurm.conf, for SLURM_CONF.
    """

    configuration: Path


def unavailable() -> str | None:
    """Returns which programs or rights Slurm lacks here; None if it can run."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"Slurm needs {', '.join(absent)}"
    return "a Slurm of virtual nodes needs root" if os.geteuid() else None


@contextlib.contextmanager
def cluster() -> Iterator[Slurm]:
    """Starts a Slurm of four nodes of four CPUs, with partitions ``main`` and ``urgent``.

    Jobs in ``urgent`` preempt those in ``main``, which are warned and have a minute to end.
    Raises RuntimeError, with the reason, if it does not start.
    """
    # Its user must reach munge's socket, which pytest's folders do not let it.
    folder = Path(tempfile.mkdtemp(prefix="hvcod-slurm-"))
    keeper = subprocess.Popen(
        [sys.executable, __file__, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests, which then let go of it
        text=True,
    )
    try:
        if not (keeper.stdout and keeper.stdout.readline()):
            raise RuntimeError(f"no Slurm: {keeper.communicate()[1]}")
        yield Slurm(folder / "slurm.conf")
    finally:
        keeper.communicate()  # ends its standard input, and waits for it


def keep(folder: Path) -> None:
    """Serves until standard input ends, then removes the folder."""
    try:
        _configure(folder)
        _serve(folder)
    finally:
        shutil.rmtree(folder)


def _serve(folder: Path) -> None:
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += ["bash", "-c", SERVER, "server", str(folder), str(NODES)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        if process.stdout.readline() != "up\n":
            raise SystemExit("the daemons did not start")
        try:
            _wait_for_nodes(folder)
            print("up", flush=True)
            sys.stdin.read()
        finally:
            process.kill()


def _configure(folder: Path) -> None:
    for name in (
        "state",
        "log",
        "munge",
        *(f"{p}/n{i + 1}" for p in ("spool", "tmp") for i in range(NODES)),
    ):
        (folder / name).mkdir(parents=True)
    for path in (folder, folder / "munge"):
        path.chmod(0o755)
    key = folder / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (folder / "munge", key):
        shutil.chown(path, "munge", "munge")
    host, ports = socket.gethostname(), _free_ports(NODES + 1)
    nodes = "\n".join(
        f"NodeName=n{at} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
        "RealMemory=4000"
        for at, port in enumerate(ports[1:], 1)
    )
    # The names of a cluster's nodes are known on all of them.
    names = " ".join(f"n{at + 1}" for at in range(NODES))
    (folder / "hosts").write_text(f"{Path('/etc/hosts').read_text()}127.0.0.1 {names}\n")
    text = CONFIGURATION.format(host=host, port=ports[0], folder=folder, nodes=nodes)
    (folder / "slurm.conf").write_text(text)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for_nodes(folder: Path) -> None:
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    idle = ["sinfo", "--noheader", "--Node", "--states=idle", "--partition=main"]
    end = time.monotonic() + 120
    while time.monotonic() < end:
        shown = subprocess.run(idle, env=environment, capture_output=True, text=True, check=False)
        if len(shown.stdout.splitlines()) == NODES:
            return
        time.sleep(0.1)
    raise SystemExit(f"the nodes did not come up: {shown.stdout}{shown.stderr}")


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
