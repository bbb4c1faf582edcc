"""The forms that the ranks of a group have in common, if each goes at its own pace."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from hvcod.groups.communicator import Communicator


def common(comm: Communicator, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns this rank's tree without what has another form on other ranks, as None there.

    A rank that has made no update yet has no hidden state, for example. In a dictionary only the
    keys that all ranks have remain. Collective.
    """
    forms = comm.allgather(_form(tree))
    return dict(_restricted(tree, forms))


def _form(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return (tuple(tree.shape), str(tree.dtype))
    if isinstance(tree, Mapping):
        return {key: _form(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_form(value) for value in tree]
    return tree


def _restricted(tree: Any, forms: Sequence[Any]) -> Any:
    first = forms[0]
    if all(form == first for form in forms):
        return tree
    if all(isinstance(form, Mapping) for form in forms):
        keys = [key for key in first if all(key in form for form in forms)]
        return {key: _restricted(tree[key], [form[key] for form in forms]) for key in keys}
    return None
