"""A deletion by vectors dies, fails or loses an answer at every storage call: all its rows are
gone, or none, in every bucket alike; and what it leaves behind bears its id."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from support.atomic import check_whole_or_not
from support.builders import rows_of
from support.shelves import Shelves, cases
from support.stories import vectors

CHOSEN = pl.col("n") % 3 == 0


@cases({"no buckets": -1, "two buckets": 2}, s3=["two buckets"])
def test_all_chosen_rows_are_gone_or_none_whatever_happens(
    case: int, shelves: Shelves, tmp_path: Path
) -> None:
    table = vectors(tmp_path / "made", bucket=case)
    left = [row for row in rows_of(table) if int(str(row[0])) % 3]
    shelf = shelves(table)

    tried = check_whole_or_not(shelf, lambda t: t.delete(CHOSEN), rows_of)

    assert tried > (30 if shelf.exhaustive else 20)
    shelf.renew()
    shelf.table.delete(CHOSEN)
    assert rows_of(shelf.look()) == left
