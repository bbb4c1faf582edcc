"""The tensors of a file, compared with those of the model that they are to be the weights of."""

from collections.abc import Iterable, Mapping

from hvcod.tensorfile.format import TensorSpec, dtype_name

_SHOWN = 40
"""Names of tensors in a message, at most."""

_PREFIXES = {
    "module.": "model.module.state_dict()",
    "_orig_mod.": "model._orig_mod.state_dict()",
}
"""The prefix that a wrapper gives the names of a model's tensors, and how to save them without."""


def misfits(model: Mapping[str, TensorSpec], held: Mapping[str, TensorSpec]) -> str:
    """Returns why the tensors of a file cannot be the weights of a model; empty if they can.

    Names all that are missing or too many, or have another shape or type. Floating-point numbers
    may have any precision.
    """
    missing = [name for name in model if name not in held]
    unknown = [name for name in held if name not in model]
    both = {name: (held[name], model[name]) for name in model if name in held}
    wrong = [
        f"{name} {_text(theirs)} instead of {_text(ours)}"
        for name, (theirs, ours) in both.items()
        if theirs.shape != ours.shape or not _converts(theirs, ours)
    ]
    parts = [
        f"{what}: {some(names)}"
        for what, names in (
            ("it lacks", missing),
            ("it has, and the model does not", unknown),
            ("of another shape or type", wrong),
        )
        if names
    ]
    return "; ".join(parts) + _hint(missing, unknown)


def some(names: list[str]) -> str:
    """Returns the first names of many, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:200] for name in names[:_SHOWN]) + more


def _converts(theirs: TensorSpec, ours: TensorSpec) -> bool:
    both_floating = theirs.dtype.is_floating_point and ours.dtype.is_floating_point
    return both_floating or theirs.dtype is ours.dtype


def _text(spec: TensorSpec) -> str:
    return f"{dtype_name(spec.dtype)}{list(spec.shape)}"


def _hint(missing: Iterable[str], unknown: Iterable[str]) -> str:
    for prefix, advice in _PREFIXES.items():
        if {prefix + name for name in missing} & set(unknown):
            return f" (the names begin with {prefix}: save {advice})"
    return ""
