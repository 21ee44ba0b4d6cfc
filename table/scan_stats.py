"""What manifests say of the columns that a predicate asks for, file by file, as bounds.

Three sources: the key range of a file (`key_ranges`), the statistics of its columns
(`FileStatistics`), and, once it is open, those of its row groups (`data_file`).

Spec: format §5.1, §5.2, §2.5; reference class ``SimpleStatsEvolution``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .datatypes import STRINGS, TIMESTAMPS, DataType
from .errors import CorruptTable
from .file_stats import ColumnBounds, file_bounds
from .handle import TableHandle
from .lsm.run import LsmFile
from .manifest.entry import DataFile
from .predicate.bounds import BoundsFrame
from .row import Instant, decode_row
from .schema import TableSchema

_REPLACED = "?"
"""What Java writes for half of a surrogate pair, also where it rounds a maximum up to one."""

_NANOS_OF_MICRO = 1_000
"""pypaimon knows no finer time, and cuts a maximum to it."""


def key_ranges(files: Sequence[LsmFile], schema: TableSchema) -> BoundsFrame:
    """Bounds of key columns from the smallest and the largest key.

    Keys are ordered column by column, so the ends bound the first column; they bound the next one
    only where the columns before it have one value.
    """
    keys = schema.trimmed_keys
    types = schema.types(keys)
    found: list[Mapping[str, ColumnBounds]] = []
    for f in files:
        low, high = decode_row(f.file.min_key, types), decode_row(f.file.max_key, types)
        alike = next((i for i in range(len(keys)) if f.low[i] != f.high[i]), len(keys))
        found.append({k: ColumnBounds(low[i], high[i], 0) for i, k in enumerate(keys[: alike + 1])})
    rows = [f.file.row_count for f in files]
    return BoundsFrame.of(found, rows, dict(zip(keys, types, strict=True)), nan_hides=False)


class FileStatistics:
    """Bounds of some columns from the statistics of files, which must have been read with them."""

    def __init__(self, handle: TableHandle, schema: TableSchema, columns: Sequence[str]) -> None:
        self._handle = handle
        self._schema = schema
        self._written = {schema.id: schema}
        self.types = {n: schema.column(n).type for n in columns if not schema.column(n).type.nested}

    def of(self, files: Sequence[DataFile], columns: Sequence[str] | None = None) -> BoundsFrame:
        """Bounds of the files.

        Args:
            columns: only these; the others may hold anything.
        """
        types = self.types
        if columns is not None:
            types = {n: t for n, t in types.items() if n in columns}
        bounds = [self._bounds(f) for f in files]
        return BoundsFrame.of(bounds, [f.row_count for f in files], types, nan_hides=True)

    def _bounds(self, file: DataFile) -> Mapping[str, ColumnBounds]:
        written = self._schema_of(file)
        try:
            known = file_bounds(file, self._schema, written)
        except CorruptTable:
            return {}  # bounds that cannot be read rule nothing out
        there = {f.id for f in written.fields}
        made: dict[str, ColumnBounds] = {}
        for name in self.types:
            column = self._schema.column(name)
            if column.id not in there:  # added later: all null
                made[name] = ColumnBounds(null_count=file.row_count)
            elif name in known:
                made[name] = _sure(known[name], column.type)
        return made

    def _schema_of(self, file: DataFile) -> TableSchema:
        if file.schema_id not in self._written:
            self._written[file.schema_id] = self._handle.schema(file.schema_id)
        return self._written[file.schema_id]


def _sure(bounds: ColumnBounds, data_type: DataType) -> ColumnBounds:
    """The bounds without what a writer may have cut below the largest value."""
    if data_type.root in STRINGS and isinstance(bounds.high, str):
        cut = bounds.high.endswith(_REPLACED)
        return ColumnBounds(null_count=bounds.null_count) if cut else bounds
    if data_type.root in TIMESTAMPS and isinstance(bounds.high, Instant):
        millis, nanos = bounds.high
        if data_type.precision > 6 and nanos % _NANOS_OF_MICRO == 0:
            return replace(bounds, high=Instant(millis, nanos + _NANOS_OF_MICRO - 1))
    return bounds
