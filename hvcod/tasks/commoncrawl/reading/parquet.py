"""Parquet: a row with its text in a column and perhaps an id in another, read by pyarrow."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hvcod.tasks.commoncrawl.reading.document import Document, Fields
from hvcod.tasks.commoncrawl.reading.json_lines import NO_FIELD, document_of_row
from hvcod.tasks.commoncrawl.reading.segments import DamagedError, SegmentReader

PARQUET_START = b"PAR1"
_ROWS_AT_ONCE = 1000
_COLUMNS_SHOWN = 8


def read_parquet(path: Path, reader: SegmentReader, fields: Fields) -> Iterator[Document]:
    """Yields the documents of a local file; columns in columns have names such as ``data.body``.

    `reader` counts them; it has no bytes of its own.
    """
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            if not _column(fields.text, there):
                shown = ", ".join(map(repr, there[:_COLUMNS_SHOWN]))
                reader.damaged(
                    "whole source",
                    f"{NO_FIELD}{fields.text!r}",
                    detail=f"the columns are {shown}",
                )
                return
            wanted = {_column(field, there) for field in fields} - {None}
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=sorted(filter(None, wanted))):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        yield document_of_row(reader, row, number, fields)
                    except DamagedError as damage:
                        reader.damaged(f"row {number}", str(damage), detail=damage.detail)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        reader.damaged(f"behind row {number}", "damaged Parquet data", detail=repr(reason[:100]))


def _column(field: str, there: list[str]) -> str | None:
    """Returns the outermost column of a field, if it is there."""
    return next((name for name in (field, field.partition(".")[0]) if name in there), None)
