"""Hosts on one machine, each with a network, a name and a /dev/shm of its own (root; iproute2).

They are namespaces, joined by a bridge in a namespace of its own: nothing is seen of them outside.
Each is held by a process that ends when its standard input does, so that nothing stays behind a
test run however that one ends. They share their folders, as through a shared file system.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from forkserver.launches import ForkServer

NETWORK = "198.51.100."  # for documentation (RFC 5737); lives in the namespaces only
TOOLS = ("ip", "tc", "unshare", "nsenter", "hostname", "mount")

SWITCH = """
set -eu
ip link add bridge type bridge
ip link set bridge up
echo up
exec cat >/dev/null
"""

# Arguments: name, address, process of the switch, file of all names.
HOST = """
set -eu
hostname "$1"
ip link set lo up
ip link add net0 type veth peer name "$1" netns "$3"
nsenter --target "$3" --net ip link set "$1" master bridge up
# A connection of which nothing is heard is given up after 13 s, not after a quarter of an hour.
echo 5 >/proc/sys/net/ipv4/tcp_retries2
ip address add "$2/24" dev net0
ip link set net0 up
mount --bind "$4" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
echo up
exec cat >/dev/null
"""

# What mpirun takes for ssh: a host, then a command.
AGENT = """#!/bin/sh
host=$1; shift
exec nsenter --target "$(cat "{folder}/$host")" --mount --uts --net -- /bin/sh -c "$*"
"""


def unavailable() -> str | None:
    """Why there can be no hosts here, for want of programs or rights; None if there can."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        return f"hosts need {', '.join(absent)}"
    return "hosts need root" if os.geteuid() else None


class Hosts:
    """Hosts ``h1``, ``h2``, ... and launches of hvcod on them."""

    def __init__(
        self, folder: Path, count: int, environment: Mapping[str, str], server: ForkServer
    ) -> None:
        """
        Args:
            folder: An empty one.
            count: How many hosts.
            environment: Of all processes on them.
            server: Its ranks move to the host of their client.
        """
        self.names = [f"h{1 + index}" for index in range(count)]
        self.folder = folder
        self._server, self._stack = server, contextlib.ExitStack()
        agent, known = folder / "agent", folder / "hosts"
        agent.write_text(AGENT.format(folder=folder))
        agent.chmod(0o755)
        addresses = {name: f"{NETWORK}{1 + at}" for at, name in enumerate(self.names)}
        known.write_text("".join(f"{address} {name}\n" for name, address in addresses.items()))
        self._environment = dict(environment) | _open_mpi(agent)
        self._switch = self._hold("--net", SWITCH)
        self._holders = {
            name: self._hold("--net --uts --mount", HOST, name, address, self._switch, known)
            for name, address in addresses.items()
        }
        for name, process in self._holders.items():
            (folder / name).write_text(str(process))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill_all()
        self._stack.close()

    def inside(self, name: str) -> list[str]:
        """The words that start a command on a host."""
        target = f"--target={self._holders[name]}"
        return ["nsenter", target, "--mount", "--uts", "--net", "--"]

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host to its end."""
        command = [*self.inside(name), *words]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=300
        )

    def start(
        self,
        on: str,
        *command: object,
        errors: Path,
        head: str = "h1",
        by: str = "slot",
        nice: int = 0,
    ) -> subprocess.Popen[str]:
        """Starts hvcod or a program of the tests under mpirun and returns at once.

        Args:
            on: Where the ranks run, such as ``h1:2,h2:2``.
            command: As for the fixture ``fast_mpirun``.
            errors: The file that gets the standard error.
            head: The host of mpirun itself.
            by: Neighbouring ranks share a host (``slot``), or are on different ones (``node``).
            nice: Priority; negative: what else the machine does gives way.
        """
        ranks = sum(int(part.partition(":")[2]) for part in on.split(","))
        words = [
            *self.inside(head),
            "nice",
            "-n",
            str(nice),
            "mpirun",
            "-np",
            str(ranks),
            "-H",
            on,
            "--map-by",
            by,
        ]
        with errors.open("w") as file:
            return subprocess.Popen(
                [*words, *self._server.client(*command)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def cut(self, name: str) -> None:
        """Takes the link to a host down: what is sent is lost, and nobody is told."""
        self._at_switch("ip", "link", "set", name, "down")

    def give_up_connections(self, after: int = 1) -> None:
        """Gives up connections of which nothing is heard after so few tries, 5 at first."""
        for name in self.names:
            words = ["sh", "-c", f"echo {after} >/proc/sys/net/ipv4/tcp_retries2"]
            subprocess.run([*self.inside(name), *words], check=True)

    def mend(self, name: str) -> None:
        """Puts the link to a host up again."""
        self._at_switch("ip", "link", "set", name, "up")

    def limit(self, bytes_per_s: float) -> None:
        """Limits what every host can send, and what it can receive."""
        shape = f"root tbf rate {bytes_per_s:.0f}bps burst 32kb latency 100ms".split()
        for name in self.names:
            words = ["tc", "qdisc", "replace", "dev", "net0", *shape]
            subprocess.run([*self.inside(name), *words], check=True)
            self._at_switch("tc", "qdisc", "replace", "dev", name, *shape)

    def sent(self, name: str) -> int:
        """Returns the bytes that a host has sent, headers included."""
        words = ["ip", "-s", "-j", "link", "show", "net0"]
        shown = subprocess.run([*self.inside(name), *words], capture_output=True, check=True)
        return int(json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"])

    def kill_all(self) -> None:
        """Kills all launches, and what is left of them on the hosts, and mends all links."""
        while left := set(self._processes()).difference(self._holders.values()):
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        for name in self.names:
            self.mend(name)

    def _processes(self) -> list[int]:
        """All that run on the hosts."""
        networks = {Path(f"/proc/{pid}/ns/net").stat().st_ino for pid in self._holders.values()}
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if (entry / "ns/net").stat().st_ino in networks and state != "Z":
                    found.append(int(entry.name))
        return found

    def _at_switch(self, *words: str) -> None:
        subprocess.run(["nsenter", f"--target={self._switch}", "--net", "--", *words], check=True)

    def _hold(self, namespaces: str, script: str, *arguments: object) -> int:
        """The number of a process that keeps new namespaces until its standard input ends."""
        words: Sequence[object] = ["unshare", *namespaces.split(), "bash", "-c", script, "host"]
        process = subprocess.Popen(
            [str(word) for word in (*words, *arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which then let go of it
            text=True,
        )
        self._stack.callback(process.communicate)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n", "the host does not come up"
        return process.pid


def _open_mpi(agent: Path) -> dict[str, str]:
    """How Open MPI 4.1 starts its daemons on the hosts and which network it takes, then 5.0."""
    network = f"{NETWORK}0/24"
    return {
        "OMPI_MCA_plm": "rsh",
        "OMPI_MCA_plm_rsh_agent": str(agent),
        "OMPI_MCA_oob_tcp_if_include": network,
        "OMPI_MCA_btl_tcp_if_include": network,
        "OMPI_MCA_pml": "ob1",
        "PRTE_MCA_plm": "ssh",
        "PRTE_MCA_plm_ssh_agent": str(agent),
        "PRTE_MCA_prte_if_include": network,
    }
