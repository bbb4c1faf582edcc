"""Stands where a rank would: mpirun starts this, the rank is a fork of the server.

    python -I -S client.py SOCKET hvcod|PROGRAM.py ARGUMENTS...

Gives the server all that makes a process: arguments, folder, environment, standard files. Then
passes signals on, and ends as the rank ends. If it is killed, the server kills the rank.
Imports nothing slow: it is started for every rank of every launch.
"""

import contextlib
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def end_as(status: int) -> None:
    """Ends this process with the wait status of another, by the same signal if it was one."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if code not in (-signal.SIGKILL, -signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def forward(server: socket.socket, number: int) -> None:
    """Passes a signal on to the rank; one that has ended needs none."""
    with contextlib.suppress(OSError):
        server.sendall(bytes([number]))


def main(path: str, words: list[str]) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: forward(server, number))
    variables = [key + b"=" + value for key, value in os.environb.items()]
    message = b"\0".join([b"%d" % len(words), *map(os.fsencode, words), *variables])
    folder = os.open(".", os.O_RDONLY)
    socket.send_fds(server, [len(message).to_bytes(8)], [0, 1, 2, folder])
    server.sendall(message)
    answer = server.recv(4)
    if len(answer) < 4:
        sys.exit("the fork server is gone")
    end_as(int.from_bytes(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
