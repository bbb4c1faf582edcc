"""Writes generated rows: python criteo_rows.py FILE ROWS."""

import sys
from pathlib import Path

from hvcod.tasks.criteo.preparation.generate import generate

AT_ONCE = 2**16

with Path(sys.argv[1]).open("wb") as file:
    rows = int(sys.argv[2])
    for first in range(0, rows, AT_ONCE):
        file.write(generate(1, first, min(AT_ONCE, rows - first))[0])
