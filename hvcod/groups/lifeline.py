"""Connections between the ranks of a group, which the system closes when a process dies.

Not every launcher ends the other ranks when one is killed: ``srun`` lets them wait for it. A
process that is suspended keeps its connections, and so does one whose node or network is down.
"""

import contextlib
import resource
import socket
import time
from collections.abc import Mapping

Place = tuple[str, int]
"""The node of a process, and the port of its `Door`."""

PROBE_SECONDS = 5.0

_FAREWELL = b"."


class Door:
    """A port at which others can see that this process exists, even while it is stopped.

    Attributes:
        port: Its number.
    """

    def __init__(self, most: int) -> None:
        """`most` connections are kept; further ones, which strangers make, are closed at once."""
        self._most = most
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._socket = socket.create_server(
            ("", 0), family=family, dualstack_ipv6=both, backlog=socket.SOMAXCONN
        )
        self._socket.setblocking(False)
        self._guests: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]

    def clear(self) -> None:
        """Accepts the connections that have come, and drops those that others have closed."""
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self._socket.accept()
                if len(self._guests) >= self._most:
                    guest.close()
                    continue
                guest.setblocking(False)
                self._guests.append(guest)
        for guest in [guest for guest in self._guests if _heard(guest) == b""]:
            self._guests.remove(guest)
            guest.close()

    def say_farewell(self) -> None:
        """Tells the others that this process is about to end, and that it was not killed."""
        self.clear()
        for guest in self._guests:
            with contextlib.suppress(OSError):
                guest.send(_FAREWELL)

    def close(self) -> None:
        """Ends all connections, and accepts no more."""
        for each in (self._socket, *self._guests):
            each.close()


class Lifelines:
    """Connections to the doors of other processes."""

    def __init__(self, places: Mapping[int, Place]) -> None:
        """Connects to {rank: place} for a few seconds; does without those that are not reached.

        Where a network drops packets, each node would take that long: signs of life go first. Half
        of the files that a process may open are left for others.
        """
        self._places, self._lines = dict(places), dict[int, socket.socket]()
        unknown, end = set(), time.monotonic() + PROBE_SECONDS
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        for rank, (node, port) in places.items():
            if time.monotonic() > end or 0 < most // 2 <= len(self._lines):
                break
            if node not in unknown:
                try:
                    self._lines[rank] = socket.create_connection((node, port), PROBE_SECONDS)
                    self._lines[rank].setblocking(False)
                except OSError:
                    unknown.add(node)

    def dead(self) -> list[int]:
        """Returns the ranks whose processes have ended without a farewell since the last call."""
        found = []
        for rank, line in list(self._lines.items()):
            if (heard := _heard(line)) is not None:
                line.close()
                del self._lines[rank]
                if heard != _FAREWELL and _refuses(self._places[rank]):
                    found.append(rank)
        return found

    def close(self) -> None:
        """Ends all connections."""
        for line in self._lines.values():
            line.close()


def accepts(place: Place) -> bool:
    """Returns whether a process listens there: the kernel accepts, whatever the process does."""
    with contextlib.suppress(OSError), socket.create_connection(place, PROBE_SECONDS):
        return True
    return False


def _refuses(place: Place) -> bool:
    """Returns whether the node answers that nobody listens there."""
    try:
        socket.create_connection(place, PROBE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _heard(connection: socket.socket) -> bytes | None:
    """Returns what has come; nothing if the connection has ended, None if it goes on in silence."""
    try:
        return connection.recv(1)
    except BlockingIOError:
        return None
    except OSError:
        return b""
