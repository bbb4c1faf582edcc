"""``python -m bench.one MODULE NAME TINY``: measures one row and prints it as JSON."""

import importlib
import json
import sys

from bench.__main__ import NOT_MEASURED
from bench.row import NotMeasuredError, Row


def one(module: str, name: str, tiny: bool) -> Row:
    """Measures a row in this process."""
    row: Row = getattr(importlib.import_module(f"bench.{module}"), name)(tiny)
    return row


if __name__ == "__main__":
    try:
        print(json.dumps(one(sys.argv[1], sys.argv[2], sys.argv[3] == "1").as_dict()))
    except NotMeasuredError as reason:
        print(reason)
        sys.exit(NOT_MEASURED)
