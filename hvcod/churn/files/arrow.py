"""Predictions in Parquet, and in Arrow's own formats (``.arrow``, ``.feather``, streams)."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from hvcod.churn.files.rows import MOST_ROWS_IN_BLOCK, Columns


class ParquetTable:
    """A Parquet file. Raises OSError and pa.ArrowException."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetFile(file)
        schema = self._file.schema_arrow
        self.names: list[str] = schema.names
        self.meaning = _meaning(schema)

    def kind(self, name: str) -> Any:
        """Returns the type of a column."""
        return self._file.schema_arrow.field(name).type

    def batches(self, columns: Columns) -> Iterator[Any]:
        """Yields record batches with these columns."""
        yield from self._file.iter_batches(MOST_ROWS_IN_BLOCK, columns=columns.names)


class ArrowTable:
    """An Arrow file, or a stream of Arrow. Raises OSError and pa.ArrowException."""

    def __init__(self, file: BinaryIO, is_file: bool) -> None:
        self._reader: Any = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        self._is_file = is_file
        self.names: list[str] = self._reader.schema.names
        self.meaning = _meaning(self._reader.schema)

    def kind(self, name: str) -> Any:
        """Returns the type of a column."""
        return self._reader.schema.field(name).type

    def batches(self, columns: Columns) -> Iterator[Any]:
        """Yields record batches with these columns."""
        if self._is_file:
            numbers = range(self._reader.num_record_batches)
            batches: Iterator[Any] = (self._reader.get_batch(number) for number in numbers)
        else:
            batches = iter(self._reader)
        for batch in batches:
            yield batch.select(columns.names)


def _meaning(schema: Any) -> str:
    noted: bytes = (schema.metadata or {}).get(b"meaning", b"")
    return noted.decode(errors="replace")
