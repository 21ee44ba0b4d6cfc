"""Files that come, go and come again, as after a rollback that published an old state anew."""

from __future__ import annotations

from itertools import product

import polars as pl
import pytest

from desilt.table.errors import CorruptTable
from desilt.table.manifest.entry import (
    SLIM_SCHEMA,
    DataFile,
    EntryKind,
    ManifestEntry,
    entries_frame,
)
from desilt.table.manifest.fold import cancel, fold


def manifest(text: str) -> pl.DataFrame:
    """``+a`` adds file a, ``-a`` removes it; one manifest."""
    kinds = {"+": EntryKind.ADD, "-": EntryKind.DELETE}
    entries = [
        ManifestEntry(kinds[w[0]], b"", 0, 1, DataFile(w[1:], 1, 1, b"", b"", 0, 0, 0, 5))
        for w in text.split()
    ]
    return entries_frame(entries).select(*SLIM_SCHEMA)


def said(frame: pl.DataFrame) -> str:
    rows = frame.select("kind", "name").iter_rows()
    return " ".join(f"{'-' if kind else '+'}{name}" for kind, name in rows)


@pytest.mark.parametrize(
    ("manifests", "live"),
    [
        (["+a +b", "-a", "+a"], "+b +a"),
        (["+a", "-a", "+a", "-a"], ""),
        (["+a", "-a +c", "+a -c", "-a +c"], "+c"),
        (["+a +b", "-a -b", "+a +b", "-a"], "+b"),
    ],
)
def test_a_file_that_came_again_is_live(manifests: list[str], live: str) -> None:
    assert said(fold([manifest(m) for m in manifests])) == live


@pytest.mark.parametrize("manifests", [["+a", "+a"], ["+a", "-a", "+a", "+a"]])
def test_a_file_that_is_there_cannot_come_again(manifests: list[str]) -> None:
    with pytest.raises(CorruptTable, match="a file was added twice, file=a"):
        fold([manifest(m) for m in manifests])


def test_a_file_cannot_go_more_often_than_it_came() -> None:
    with pytest.raises(CorruptTable, match="removed that is not there, file=a"):
        fold([manifest(m) for m in ("+a +b", "-a", "+a -b", "-a", "-a")])


@pytest.mark.parametrize(
    ("neighbours", "kept"),
    [
        ("+a -a +a", "+a"),
        ("-a +a -a +b", "-a +b"),  # its first ADD is in an older manifest
        ("+a -a +a -a +b", "+b"),
        ("-c +a -a +a", "-c +a"),
    ],
)
def test_merging_keeps_the_last_word(neighbours: str, kept: str) -> None:
    assert said(cancel(manifest(neighbours))) == kept


@pytest.mark.parametrize("cuts", list(product((1, 2, 3), repeat=2)))
def test_merging_any_neighbours_changes_nothing_live(cuts: tuple[int, int]) -> None:
    history = [manifest(m) for m in ("+a +b", "-a +c", "+a -c", "-a", "+a +d", "-b")]
    start, width = cuts
    merged = [
        *history[:start], cancel(pl.concat(history[start : start + width])),
        *history[start + width :],
    ]  # fmt: skip

    assert set(said(fold(merged)).split()) == set(said(fold(history)).split()) == {"+a", "+d"}
