"""A background thread whose errors do not go unnoticed."""

import threading
from collections.abc import Callable


class Worker:
    """Runs a function on a daemon thread, which does not keep a process that ends alive.

    An exception that the function raises is a mistake in the program: it ends the thread and is
    raised again at the next `check` or `join`.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises the exception that ended the thread, if one did."""
        if self._error is not None:
            raise self._error

    def join(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the thread; returns whether it has ended."""
        self._thread.join(timeout)
        self.check()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self._error = error
