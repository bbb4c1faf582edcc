"""The methods of a study: ways to train and predict whose retrains are compared."""

import re
from dataclasses import dataclass, replace

from hvcod.churn.split import BASELINE, FLOORS, SOURCES
from hvcod.errors import UsageError


@dataclass(frozen=True)
class Method:
    """A way to train and predict whose retrains are compared.

    Attributes:
        groups: The number of copies of the model in each retrain.
        teach: Whether the copies are taught: by each other, and by the finished models of
            ``--teacher``. Then the first one predicts; otherwise their ensemble does.
        anchored: Whether the model of ``--production`` teaches them instead of those of
            ``--teacher``.
        own_initialisation: Whether each retrain has its own seed of the model: its first weights
            and everything else that the model draws.
        bootstrap: Whether each copy learns from a bootstrap of its own, of all the data.
        own_order: Whether each retrain has its own seed of the data: their order and everything
            else that is random about them.
        own_data: Whether each retrain has its own sample of the data (``--data-sample``).
        base: The method of which it shares some of these three between its retrains; empty if it
            shares none.
    """

    name: str
    groups: int = 1
    teach: bool = False
    anchored: bool = False
    bootstrap: bool = False
    own_initialisation: bool = True
    own_order: bool = True
    own_data: bool = True
    base: str = ""

    @property
    def predicts(self) -> int | None:
        """The group that predicts; None for the ensemble of all."""
        return 0 if self.teach or self.groups == 1 else None


METHODS = {
    method.name: method
    for method in (
        Method("dnn"),
        Method("distill", teach=True),
        Method("anchored", teach=True, anchored=True),
        Method("ensemble", 2),
        Method("bagging", 2, bootstrap=True),
        Method("codistill", 2, teach=True),
        Method("twin-bootstrap", 2, teach=True, bootstrap=True),
        Method("anchored-codistill", 2, teach=True, anchored=True),
    )
}
"""The methods by name. Those of several copies also take a number of them: ``ensemble-4``."""

WITH_SAMPLES = ("same-data", "only-init", "only-order", "only-data")
"""Floors that mean something only if retrains have samples of the data of their own."""


def methods_of(words: str) -> list[Method]:
    """Returns the methods of a text such as ``dnn,ensemble-4,codistill``.

    Raises:
        UsageError: There is no such method, or one is named twice.
    """
    methods = [_method(word.strip()) for word in words.split(",")]
    names = [method.name for method in methods]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--methods {words}: {twice[0]} comes twice")
    return methods


def _method(word: str) -> Method:
    name, _, floor = word.partition(":")
    if word in FLOORS:
        name, floor = BASELINE, word
    if floor in FLOORS:
        own = {f"own_{source}": source in FLOORS[floor] for source in SOURCES}
        of = _method(name)
        named = floor if of.name == BASELINE else f"{of.name}:{floor}"
        return replace(of, name=named, base=of.name, **own)
    if word in METHODS:
        return METHODS[word]
    numbered = re.fullmatch(r"(.+)-(\d+)", word)
    method = METHODS.get(numbered[1]) if numbered else None
    if numbered and method and method.groups > 1 and (copies := int(numbered[2])) > 1:
        return method if copies == method.groups else replace(method, name=word, groups=copies)
    known = (f"{name}, {name}-3" if m.groups > 1 else name for name, m in METHODS.items())
    floors = f"{', '.join(FLOORS)}; or one of these of a method: codistill:same-init"
    raise UsageError(f"--methods {word}: choose from {', '.join(known)}, {floors}")
