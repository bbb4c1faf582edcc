"""``--watch``: a command that looks again and again."""

import signal
import time
from collections.abc import Callable
from typing import Any

import click

SECONDS, SECONDS_OF_A_PAGE = 2.0, 30.0
"""Between two looks, for a terminal and for a page that others load."""

STOPPED = "The command that wrote it again was stopped: start it again to follow the run further."
"""The note of a page that is not refreshed any more, though its run may go on."""

_LARGEST_SHARE = 0.05


class WatchCommand(click.Command):
    """A command with ``--watch [SECONDS]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accepts ``--watch`` without SECONDS, in front of RUN too."""
        makes_page = any(word.split("=")[0] == "--html" for word in args)
        seconds = SECONDS_OF_A_PAGE if makes_page else SECONDS
        for at, word in enumerate(args):
            following = "".join(args[at + 1 : at + 2])
            if word == "--watch" and not following.replace(".", "").isdecimal():
                args = [*args[:at], f"--watch={seconds}", *args[at + 1 :]]
        return super().parse_args(ctx, args)


def watch_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--watch [SECONDS]`` with this help."""
    seconds = click.FloatRange(min=0.1)
    return click.option("--watch", type=seconds, metavar="[SECONDS]", help=text)


def watch_until(look: Callable[[float], bool], every: float) -> bool:
    """Calls `look` again and again until it returns True, which is returned.

    It is called every so many seconds, or less often where a look takes more than a twentieth of
    that: login nodes are shared. Its argument are the seconds until the next time, as far as known.
    False is returned on Ctrl-C, SIGTERM and SIGHUP, so that what was begun can be ended.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _interrupt)
    pause = every
    try:
        while True:
            begun = time.process_time()
            if look(pause):
                return True
            pause = max(every, (time.process_time() - begun) / _LARGEST_SHARE)
            time.sleep(pause)
    except KeyboardInterrupt:
        return False


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
