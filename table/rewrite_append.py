"""A part of an append table's packing: rows of several files laid end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import polars as pl

from .ahead import ahead
from .decision import RewritePlan
from .rewrite_part import PartContext, PartResult
from .verify import AppendExpectation, check_append

SOON_FILES = 256
"""Read one after the other, so many are begun before the first of them is needed."""


def rewrite_appended(context: PartContext, part: RewritePlan, written: list[str]) -> PartResult:
    """Write and verify.

    Args:
        written: gets the path of every file that was begun.
    """
    checked = context.checked_columns
    expected = AppendExpectation(checked)
    seen = 0

    def joined() -> Iterator[pl.DataFrame]:
        nonlocal seen
        names = [name for section in part.sections for run in section for name in run]
        for at in range(0, len(names), SOON_FILES):
            few = names[at : at + SOON_FILES]
            with context.soon(few):
                for _, frame in context.run(few, context.chunk_bytes(1)):
                    seen += frame.height
                    expected.observe(frame)
                    yield frame

    writer = context.writer(first_sequence=context.files[part.names[0]].min_sequence)
    try:
        with closing(ahead(joined())) as frames:
            files = writer.write(frames)
    finally:
        written += writer.paths
    context.check_rows_seen(part.names, seen)
    with closing(ahead(context.read_back(files, checked))) as back:
        check_append(expected.tally, back, checked)
    return PartResult(files)
