"""Taking out what is missing dies, fails or loses an answer at every storage call: it is taken out
whole or not at all, and what is left behind bears the task's id."""

from __future__ import annotations

from pathlib import Path

from support.atomic import check_whole_or_not
from support.builders import keyed_table, live_files, rows_of, upserts
from support.shelves import Shelves

from desilt.table.missing_files import remove_missing


def test_it_is_taken_out_or_not_whatever_happens(shelves: Shelves, tmp_path: Path) -> None:
    table = keyed_table(tmp_path / "made")
    table.write(upserts(4, "a"))
    table.write(upserts(2, "b", start=4))
    (lost, _), *_ = set(live_files(table, 2)) - set(live_files(table, 1))
    Path(table.path, "bucket-0", lost).unlink()
    shelf = shelves(table)

    tried = check_whole_or_not(shelf, lambda t: remove_missing(t.handle), live_files)

    assert tried > (30 if shelf.exhaustive else 20)
    shelf.renew()
    remove_missing(shelf.handle)
    assert rows_of(shelf.look()) == rows_of(table, 1)
