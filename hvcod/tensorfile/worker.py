"""A background thread that cannot fail in silence."""

import threading
from collections.abc import Callable


class Worker:
    """Runs a function on a daemon thread: an owner that dies is not kept alive by it.

    An exception that the function lets out is a mistake in the program; it ends the thread and
    is raised at the owner's next `check` or `join`.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises what the thread died of, if it did."""
        if self._error is not None:
            raise self._error

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended, after waiting for it up to `timeout` seconds."""
        self._thread.join(timeout)
        self.check()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self._error = error
