"""Nested values survive being taken apart and put together, through JSON."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hvcod.errors import HvcodError
from hvcod.tree import put_together, take_apart

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text(alphabet="ab./_", max_size=3) | st.integers(-3, 3)
TREES = st.recursive(
    PLAIN | st.integers(0, 9).map(torch.tensor),
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.lists(parts, max_size=4).map(tuple)
        | st.dictionaries(KEYS, parts, max_size=4)
    ),
    max_leaves=20,
)


def shown(tree: Any) -> Any:
    """The tree with tensors as something that compares."""
    if isinstance(tree, torch.Tensor):
        return "tensor", tree.tolist()
    if isinstance(tree, dict):
        return {key: shown(value) for key, value in tree.items()}
    return type(tree)(map(shown, tree)) if isinstance(tree, list | tuple) else tree


@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    outline, tensors = take_apart(tree, "part")
    assert not any("/" in name for name in tensors)
    back = put_together(json.loads(json.dumps(outline)), tensors)
    assert shown(back) == shown(tree)


def test_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(HvcodError, match=r"cannot save hidden\.1\.x: .* cannot hold a set"):
        take_apart([1, {"x": {3}}], "hidden")


@pytest.mark.parametrize(
    "outline", [{"tensor": "gone"}, {"pickle": "x"}, {"list": 3}, {"dict": [[1, {"a": 1}]]}]
)
def test_what_is_no_outline_is_refused(outline: Any) -> None:
    with pytest.raises(HvcodError, match="outline of a training state"):
        put_together(outline, {})
