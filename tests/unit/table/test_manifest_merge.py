"""Merging manifests: which are merged, and that what they say together stays the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from support.builders import keyed_table, kv, rows_of

from desilt.table.commit_files import manifest_meta
from desilt.table.handle import TableHandle
from desilt.table.manifest.codec import ManifestMeta, write_manifest
from desilt.table.manifest.entry import DataFile, EntryKind, ManifestEntry, entries_frame
from desilt.table.manifest.fold import fold
from desilt.table.manifest.merge import MergeLimits, full_candidates, limits_of, minor_groups
from desilt.table.manifest_rewrite import Roller, merge_manifests
from desilt.table.metadata import MetadataReader
from desilt.table.row import encode_row
from desilt.table.stats import EMPTY_STATS

EMPTY_ROW = encode_row((), ())


def meta(index: int, size: int, *, deleted: int = 0) -> ManifestMeta:
    return ManifestMeta(f"m{index}", size, 1, deleted, EMPTY_STATS, 0)


def metas(text: str) -> list[ManifestMeta]:
    """Sizes, a ``d`` behind those that hold DELETEs."""
    return [
        meta(i, int(word.rstrip("d")), deleted=int(word.endswith("d")))
        for i, word in enumerate(text.split())
    ]


def sizes(manifests: Sequence[ManifestMeta]) -> str:
    return " ".join(f"{m.size_bytes}{'d' if m.deleted_files else ''}" for m in manifests)


# --- which are merged ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ("", []),
        ("5", ["5"]),
        ("5 5", ["5", "5"]),  # too few, too small
        ("5 5 5", ["5 5 5"]),  # three are enough
        ("60 60", ["60 60"]),  # 120 ≥ 100: a full group, however few
        ("100 5", ["100", "5"]),  # a large one by itself
        ("60 60 5", ["60 60", "5"]),
        ("60 60 5 5 5", ["60 60", "5 5 5"]),
        ("5 5 100 5 5", ["5 5 100", "5", "5"]),  # in list order
        ("40d 40 40 5", ["40d 40 40", "5"]),  # deletes do not matter
    ],
)
def test_minor_groups_are(given: str, groups: list[str]) -> None:
    limits = MergeLimits(target_bytes=100, full_threshold_bytes=10_000, min_count=3)

    assert [sizes(g) for g in minor_groups(metas(given), limits)] == groups


@pytest.mark.parametrize("min_count", [0, 1])
def test_minor_groups_without_a_least_count_hold_no_empty_group(min_count: int) -> None:
    limits = MergeLimits(100, 10_000, min_count)

    assert minor_groups([], limits) == ()
    assert [sizes(g) for g in minor_groups(metas("100"), limits)] == ["100"]


@pytest.mark.parametrize(
    ("given", "candidates"),
    [
        ("", ""),
        ("90 90", ""),  # 180 < 200
        ("90 90 90", "90 90 90"),
        ("500 500 500", ""),  # large ones without deletes stay
        ("500d 500 90", "500d 90"),
        ("500d", "500d"),
        ("150 60", ""),  # only 60 counts
    ],
)
def test_full_merge_rewrites(given: str, candidates: str) -> None:
    limits = MergeLimits(target_bytes=100, full_threshold_bytes=200, min_count=3)

    assert sizes(full_candidates(metas(given), limits)) == candidates


# --- what they say together ---------------------------------------------------------------------


class Shelf:
    """Manifests of one table on disk, and the merge acting on them."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        self.handle: TableHandle = keyed_table(folder, options=options).handle
        self.schema = self.handle.latest_schema()
        self.reader = MetadataReader(self.handle)
        self.metas: tuple[ManifestMeta, ...] = ()
        self.written = 0

    def write(self, entries: pl.DataFrame, data: bytes) -> ManifestMeta:
        name = f"manifest-{self.written}"
        self.written += 1
        assert self.handle.storage.create(f"{self.handle.root}/manifest/{name}", data)
        return manifest_meta(name, len(data), entries, ())

    def append(self, entries: Sequence[ManifestEntry]) -> None:
        frame = entries_frame(entries)
        self.metas = (*self.metas, self.write(frame, write_manifest(frame)))

    def merge(self) -> None:
        self.metas = merge_manifests(
            self.metas,
            limits_of(self.schema.options),
            (),
            self.reader,
            lambda: Roller(self.schema.options.manifest_target_bytes, self.write),
        )

    def live(self) -> set[tuple[str, int]]:
        frame = fold([self.reader.slim(m.name) for m in self.metas])
        return set(frame.select("name", "level").iter_rows())

    def entries(self) -> int:
        return sum(m.added_files + m.deleted_files for m in self.metas)


def entry(kind: EntryKind, name: str, level: int) -> ManifestEntry:
    file = DataFile(name, 10, 1, EMPTY_ROW, EMPTY_ROW, 0, 0, 0, level)
    return ManifestEntry(kind, EMPTY_ROW, 0, 1, file)


def random_change(
    rng: random.Random, live: set[tuple[str, int]], number: int
) -> list[ManifestEntry]:
    """A commit: files come, some go, some move up a level."""
    change = [entry(EntryKind.ADD, f"f{number}-{i}", 0) for i in range(rng.randrange(4))]
    going = rng.sample(sorted(live), min(len(live), rng.randrange(4)))
    for name, level in going:
        change.append(entry(EntryKind.DELETE, name, level))
        if rng.random() < 0.4:
            change.append(entry(EntryKind.ADD, name, level + 1))
    return change


LIMITS = {
    "minor": {"manifest.merge-min-count": "2"},
    "minor-by-size": {"manifest.target-file-size": "2 kb"},
    "full": {"manifest.full-compaction-threshold-size": "1 b"},
    "full-of-small-ones": {
        "manifest.target-file-size": "2500 b",
        "manifest.full-compaction-threshold-size": "4 kb",
    },
    "both": {"manifest.merge-min-count": "3", "manifest.full-compaction-threshold-size": "6 kb"},
}


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("seed", range(4))
def test_merging_keeps_what_is_live_after_any_history(
    tmp_path: Path, limits: str, seed: int
) -> None:
    rng = random.Random(seed)
    shelf = Shelf(tmp_path, LIMITS[limits])
    live: set[tuple[str, int]] = set()
    for number in range(25):
        change = random_change(rng, live, number)
        if not change:
            continue
        shelf.append(change)
        live -= {(e.file.name, e.file.level) for e in change if e.kind is EntryKind.DELETE}
        live |= {(e.file.name, e.file.level) for e in change if e.kind is EntryKind.ADD}
        shelf.merge()

        assert shelf.live() == live

    assert shelf.written > 20  # something was merged


def test_full_merge_leaves_no_delete(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, LIMITS["full"])
    shelf.append([entry(EntryKind.ADD, f"f{i}", 0) for i in range(5)])
    shelf.append([entry(EntryKind.DELETE, "f1", 0), entry(EntryKind.ADD, "f1", 5)])
    shelf.append([entry(EntryKind.DELETE, "f2", 0)])
    shelf.merge()

    (merged,) = shelf.metas
    assert (merged.added_files, merged.deleted_files) == (4, 0)
    assert shelf.live() == {("f0", 0), ("f1", 5), ("f3", 0), ("f4", 0)}


def test_full_merge_touches_a_large_manifest_only_if_it_lost_a_file(tmp_path: Path) -> None:
    options = {
        "manifest.target-file-size": "5 kb", "manifest.full-compaction-threshold-size": "1 b",
    }  # fmt: skip
    rng = random.Random(1)
    shelf = Shelf(tmp_path, options)
    for part in ("a", "b"):
        names = [f"{part}{rng.getrandbits(128):x}" for _ in range(300)]
        shelf.append([entry(EntryKind.ADD, name, 0) for name in names])
    large, touched = shelf.metas
    gone = shelf.reader.slim(touched.name)["name"][7]
    shelf.append([entry(EntryKind.DELETE, gone, 0)])
    shelf.merge()

    assert min(large.size_bytes, touched.size_bytes) > 5 * 1024
    assert shelf.metas[0] == large
    assert sum(m.added_files for m in shelf.metas[1:]) == 299
    assert touched.name not in {m.name for m in shelf.metas}


def test_full_merge_of_nothing_live_leaves_no_manifest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, LIMITS["full"])
    shelf.append([entry(EntryKind.ADD, "f", 0)])
    shelf.append([entry(EntryKind.DELETE, "f", 0)])
    shelf.merge()

    assert shelf.metas == ()


def test_minor_merge_keeps_a_delete_whose_file_lies_elsewhere(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, {"manifest.target-file-size": "3 kb"})
    rng = random.Random(1)
    shelf.append([entry(EntryKind.ADD, f"{rng.getrandbits(128):x}", 0) for _ in range(300)])
    gone = shelf.reader.slim(shelf.metas[0].name)["name"][0]
    shelf.append([entry(EntryKind.DELETE, gone, 0)])
    shelf.append([entry(EntryKind.ADD, "x", 0)])
    before = shelf.live()
    shelf.merge()

    assert len(before) == 300
    assert shelf.live() == before


def test_statistics_survive_a_merge(tmp_path: Path) -> None:
    """Planning needs them later: what is merged is whole entries."""
    table = keyed_table(tmp_path, options={"manifest.merge-min-count": "2"})
    for number in range(6):
        table.write(kv((number, f"v{number}")))
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    reader = MetadataReader(table.handle)
    whole = pl.concat([reader.whole(m.name) for m in reader.manifests(snapshot)])

    assert len(reader.manifests(snapshot)) < 6
    assert whole["value_min"].null_count() == 0
    assert whole["value_min"].n_unique() == 6


@pytest.mark.parametrize("min_count", ["0", "1", "2", "30"])
def test_table_is_the_same_however_its_manifests_are_merged(tmp_path: Path, min_count: str) -> None:
    options = {"manifest.merge-min-count": min_count}
    table = keyed_table(tmp_path, options=options)
    for number in range(8):
        table.write(kv((number % 3, f"v{number}")))
        if number % 3 == 2:
            table.compact("full")

    assert rows_of(table) == [(0, "v6"), (1, "v7"), (2, "v5")]
    assert table.handle.snapshots.latest_id() == 10
