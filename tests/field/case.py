"""A command on an input of the field, and what is right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A command line of hvcod and its outcome.

    In words, ``{field}`` stands for the folder of inputs and ``{out}`` for a new path. `says` are
    regular expressions that the output (standard output and error) contains, `not_says` are absent.
    """

    words: str
    says: tuple[str, ...] = ()
    code: int = 0
    not_says: tuple[str, ...] = ()
