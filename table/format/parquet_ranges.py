"""Which bytes of a Parquet file a read needs: the footer first, then column chunks of row groups.

A file in an object store is fetched in these pieces. Column chunks that nearly touch are fetched
as one: a request costs more than the bytes of a gap.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow.parquet as pq

from ..errors import CorruptTable
from ..storage import Ranges

WHOLE_BYTES = 1 << 20
"""Files up to this size are fetched with their footer: a second request would take longer."""

FOOTER_BYTES = 64 << 10
"""Fetched first from the end of larger files; most footers fit."""

GAP_BYTES = 1 << 20

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # length of the footer, magic

Range = tuple[int, int]


def fetch_footer(file: Ranges, path: str) -> None:
    """Have everything behind the last row group there: footer, page indexes, filters.

    Raises:
        CorruptTable: that is no Parquet file.
    """
    size = file.size_bytes
    begin = 0 if size <= WHOLE_BYTES else size - FOOTER_BYTES
    file.fetch([(begin, size)])
    if begin == 0:
        return
    with open(file.path, "rb") as local:
        local.seek(size - _TAIL_BYTES)
        tail = local.read(_TAIL_BYTES)
    footer = size - _TAIL_BYTES - int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or footer < len(_MAGIC):
        raise CorruptTable("data file is not readable", reason="no Parquet footer", file=path)
    if footer < begin:
        file.fetch([(footer, begin)])
    metadata = pq.read_metadata(file.path)
    ends = [end for index in range(metadata.num_row_groups) for _, end in _chunks(metadata, index)]
    data_end = max(ends, default=footer)
    if data_end < min(begin, footer):
        file.fetch([(data_end, min(begin, footer))])


def ranges_of(
    metadata: Any, rows: tuple[int, int] | None, columns: Collection[str] | None
) -> list[Range]:
    """The ranges of these rows (first, after the last; None: all) and columns (None: all)."""
    found: list[Range] = []
    first = 0
    for index in range(metadata.num_row_groups):
        after = first + metadata.row_group(index).num_rows
        if rows is None or (first < rows[1] and rows[0] < after):
            found += _chunks(metadata, index, columns)
        first = after
    return joined(found)


def next_rows(metadata: Any, rows: tuple[int, int]) -> tuple[int, int] | None:
    """The row group that follows the one in which these rows end; None behind the last."""
    first = 0
    for index in range(metadata.num_row_groups):
        after = first + metadata.row_group(index).num_rows
        if first >= rows[1]:
            return first, after
        first = after
    return None


def joined(ranges: Sequence[Range]) -> list[Range]:
    """The ranges in order, those that nearly touch as one."""
    found: list[Range] = []
    for begin, end in sorted(ranges):
        if found and begin - found[-1][1] <= GAP_BYTES:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _belongs(path: str, columns: Collection[str]) -> bool:
    """Whether the leaf is of one of these columns; a name may have a dot itself."""
    parts = path.split(".")
    return any(".".join(parts[:count]) in columns for count in range(1, len(parts) + 1))


def _chunks(metadata: Any, index: int, columns: Collection[str] | None = None) -> list[Range]:
    """Column chunks of one row group."""
    group = metadata.row_group(index)
    found: list[Range] = []
    for number in range(group.num_columns):
        chunk = group.column(number)
        if columns is not None and not _belongs(chunk.path_in_schema, columns):
            continue
        begin = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            begin = min(begin, chunk.dictionary_page_offset)
        found.append((begin, begin + chunk.total_compressed_size))
    return found
