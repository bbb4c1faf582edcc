"""Forks ranks that need not import torch and Horovod: that was done here, once.

    python server.py SOCKET

A client (client.py) gives what a process is made of; a fork of this process becomes it before MPI
was started, so MPI sees nothing unusual. Says "ready" on its standard output, and ends when its
standard input does. A rank dies with its client, and with this server.
"""

import atexit
import ctypes
import faulthandler
import gc
import importlib
import io
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn, cast

import hvcod

LIBRARIES = ("horovod.torch", "h5py", "torch._dynamo")
"""Beside what hvcod imports. (Any optimiser of torch imports its compiler.)"""

LATER = ("mpi4py.MPI", "pyarrow", "pandas")
"""What starts MPI or threads when it is imported: a rank does it itself."""

PIDS = "HVCOD_TEST_PIDS"
"""Environment variable: the folder in which each rank notes its process number."""

PR_SET_PDEATHSIG = 1

PEER = struct.Struct("3i")
"""What the system tells of who has connected: process, user, group."""


@dataclass(frozen=True)
class Rank:
    """A running rank and the client that it stands behind."""

    process: int
    pidfd: int
    client: socket.socket

    def signal(self, number: int) -> None:
        # By descriptor: a process number may have become another's meanwhile.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


@dataclass(frozen=True)
class Order:
    """What a client asks for: its own standard files and folder, words, environment and host."""

    files: list[int]
    words: list[str]
    environment: dict[bytes, bytes]
    client: int


def preload() -> None:
    """Imports the libraries and all of hvcod that starts neither MPI nor threads."""
    for name in LIBRARIES:
        importlib.import_module(name)
    # An import of these names fails now, and with it the modules that would start something.
    sys.modules.update(dict.fromkeys(LATER, cast(ModuleType, None)))
    for module in pkgutil.walk_packages(hvcod.__path__, "hvcod.", onerror=lambda _: None):
        with suppress(ImportError):
            importlib.import_module(module.name)
    for name in LATER:
        del sys.modules[name]
    gc.freeze()
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: a fork would have one of them"


class Server:
    """Takes orders, forks ranks, and carries signals and exit codes to and fro."""

    def __init__(self, path: str) -> None:
        self._ready = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(128)
        self._ranks: set[Rank] = set()

    def serve(self) -> Order | None:
        """Returns an order in the process that is to become that rank; None at the end."""
        self._ready.register(self._listener, selectors.EVENT_READ)
        self._ready.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in self._ready.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._listener:
                    if order := self._accept():
                        return order
                elif key.data in self._ranks:
                    self._serve_rank(key.data, is_client=key.fileobj is key.data.client)

    def _accept(self) -> Order | None:
        client, _ = self._listener.accept()
        order = receive(client)
        if order is None:
            client.close()
            return None
        server = os.getpid()
        process = os.fork()
        if process == 0:
            self._forget(client)
            die_with(server)
            return order
        for file in order.files:
            os.close(file)
        rank = Rank(process, os.pidfd_open(process), client)
        self._ranks.add(rank)
        self._ready.register(rank.pidfd, selectors.EVENT_READ, rank)
        self._ready.register(client, selectors.EVENT_READ, rank)
        return None

    def _serve_rank(self, rank: Rank, is_client: bool) -> None:
        if is_client:
            with suppress(ConnectionError):
                if asked := rank.client.recv(1):
                    rank.signal(asked[0])
                    return
            rank.signal(signal.SIGKILL)
            self._ready.unregister(rank.client)
            return
        _, status = os.waitpid(rank.process, 0)
        with suppress(OSError):
            rank.client.sendall(status.to_bytes(4))
        self._ranks.remove(rank)
        with suppress(KeyError):
            self._ready.unregister(rank.client)
        self._ready.unregister(rank.pidfd)
        rank.client.close()
        os.close(rank.pidfd)

    def _forget(self, client: socket.socket) -> None:
        """In a rank: a descriptor that it kept would hide the end of another."""
        client.close()
        for rank in self._ranks:
            rank.client.close()
            os.close(rank.pidfd)
        self._listener.close()
        self._ready.close()


def receive(client: socket.socket) -> Order | None:
    """Reads an order; None if the client died over it."""
    with suppress(ConnectionError):
        head, files, _, _ = socket.recv_fds(client, 8, 4)
        size = int.from_bytes(head)
        message = bytearray()
        while len(message) < size and (piece := client.recv(size - len(message))):
            message += piece
        if head and len(message) == size:
            count, *fields = bytes(message).split(b"\0")
            words, variables = fields[: int(count)], fields[int(count) :]
            pairs = (variable.partition(b"=") for variable in variables)
            environment = {key: value for key, _, value in pairs}
            process = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
            names = [os.fsdecode(word) for word in words]
            return Order(files, names, environment, PEER.unpack(process)[0])
        for file in files:
            os.close(file)
    return None


def die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def move_to(client: int) -> None:
    """Takes the priority of another process and, where they differ, its namespaces: a host."""
    priority = os.getpriority(os.PRIO_PROCESS, client)
    if priority != os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, priority)
    for kind in ("net", "uts", "mnt"):
        its, mine = Path(f"/proc/{client}/ns/{kind}"), Path(f"/proc/self/ns/{kind}")
        if not its.samefile(mine):
            namespace = os.open(its, os.O_RDONLY)
            assert ctypes.CDLL(None).setns(namespace, 0) == 0, f"cannot enter {its}"
            os.close(namespace)


def become(order: Order) -> None:
    """Makes this process the rank that the client would be."""
    os.setpgid(0, 0)
    move_to(order.client)
    *standard, folder = order.files
    for target, file in enumerate(standard):
        os.dup2(file, target)
    os.fchdir(folder)
    for file in order.files:
        os.close(file)
    cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=os.isatty(1))
    os.environ.clear()
    os.environb.update(order.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A rank that hangs tells where when it gets SIGABRT.
    faulthandler.enable()
    note_process()


def note_process() -> None:
    folder = os.environ.get(PIDS)
    if folder:
        rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
        temporary = Path(folder, f".{rank}")
        temporary.write_text(str(os.getpid()))
        temporary.rename(Path(folder, rank))


def run(words: list[str]) -> NoReturn:
    """Runs a program as Python would, or the console script of hvcod, and ends this process."""
    code = 0
    try:
        _run(words)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    finish(code)


def finish(code: int) -> NoReturn:
    """Ends this process as Python does, but for taking all modules apart, which takes long."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.Finalize()
    os._exit(code)


def _run(words: list[str]) -> None:
    program = words[0]
    sys.argv = words
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")
    else:
        importlib.import_module("hvcod.cli.main").main()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore")
    del sys.path[0]
    preload()
    if order := Server(sys.argv[1]).serve():
        become(order)
        run(order.words)
