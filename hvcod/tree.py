"""Nested values as an outline in JSON and named tensors: no pickle.

A tree is made of dictionaries (keys: text or integers), lists, tuples, plain values (None,
booleans, numbers, text) and tensors.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hvcod.errors import HvcodError

_PLAIN = (bool, int, float, str, type(None))


def take_apart(tree: Any, name: str) -> tuple[Any, dict[str, Tensor]]:
    """Returns the outline of a tree, which JSON can hold, and its tensors by unique names.

    The names begin with `name`.

    Raises:
        HvcodError: The tree holds something else; names where.
    """
    tensors: dict[str, Tensor] = {}
    return _outline(tree, name, tensors), tensors


def put_together(outline: Any, tensors: dict[str, Tensor]) -> Any:
    """Returns the tree that `take_apart` took apart.

    Raises:
        HvcodError: The outline is not one, or names a tensor that is not there.
    """
    if isinstance(outline, _PLAIN):
        return outline
    match outline:
        case {"tensor": str(name)} if name in tensors:
            return tensors[name]
        case {"list": list(parts)}:
            return [put_together(part, tensors) for part in parts]
        case {"tuple": list(parts)}:
            return tuple(put_together(part, tensors) for part in parts)
        case {"dict": list(pairs)}:
            return {key: put_together(value, tensors) for key, value in pairs}
    raise HvcodError(f"an outline of a training state cannot hold {str(outline)[:80]}")


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Returns a tree with each tensor changed."""
    outline, tensors = take_apart(tree, "tree")
    return put_together(outline, {name: change(tensor) for name, tensor in tensors.items()})


def _outline(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        # HDF5 reserves the slash.
        free = name.replace("/", "_")
        while free in tensors:
            free += "_"
        tensors[free] = tree
        return {"tensor": free}
    if isinstance(tree, _PLAIN):
        return tree
    if isinstance(tree, dict) and all(type(key) in (str, int) for key in tree):
        parts = [[key, _outline(value, f"{name}.{key}", tensors)] for key, value in tree.items()]
        return {"dict": parts}
    if type(tree) in (list, tuple):
        values = [_outline(part, f"{name}.{index}", tensors) for index, part in enumerate(tree)]
        return {type(tree).__name__: values}
    raise HvcodError(f"cannot save {name}: a training state cannot hold a {type(tree).__name__}")
