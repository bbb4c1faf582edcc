"""Rows of embedding tables that have changed: a published file may hold them, not whole tables.

Beside ``table.weight`` [rows, ...] such a file has ``table.weight:rows`` [rows], the numbers of
these rows, ascending. All other tensors are whole. It belongs on the weights of an earlier step,
its base (`Origin.base`), of the same `Origin.lineage`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

ROWS = ":rows"
"""Ends the name of the numbers of rows."""


def merged(older: Mapping[str, Tensor], newer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns changes upon older weights or older changes, as one.

    Tables of `older` are overwritten in place where they can be.
    """
    result = {}
    for name in (name for name in newer if not name.endswith(ROWS)):
        rows, before = newer.get(name + ROWS), older.get(name + ROWS)
        if rows is None:
            result[name] = newer[name]
        elif before is None:
            result[name] = with_rows(older[name], rows, newer[name])
        else:
            both = _united(before, older[name], rows, newer[name])
            result[name], result[name + ROWS] = both
    return result


def with_rows(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Returns a table with other values in some rows.

    It is the same table, unless it must be widened to hold them.
    """
    wide = torch.promote_types(table.dtype, values.dtype)
    places, values = rows.to(table.device, torch.int64), values.to(table.device, wide)
    return table.to(wide).index_copy_(0, places, values)


def _united(
    rows: Tensor, values: Tensor, newer_rows: Tensor, newer_values: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the values of all rows, ascending, and the rows; the newer ones count."""
    kept = ~torch.isin(rows, newer_rows)
    wide = torch.promote_types(values.dtype, newer_values.dtype)
    everywhere, order = torch.cat([rows[kept], newer_rows]).sort()
    return torch.cat([values[kept].to(wide), newer_values.to(wide)])[order], everywhere
