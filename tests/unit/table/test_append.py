"""Which append files are packed together: the rules of the maintenance reference §7, as vectors.

Sizes are in MiB; the target is 256, so files below 179.2 are small, and each costs 4 to open.
"""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from support.builders import append_table, live_files

from desilt.table.append import (
    Group,
    PackOptions,
    pack_all_ordered,
    pack_all_unordered,
    pack_ordered,
    pack_unordered,
    queue,
)
from desilt.table.manifest.entry import DataFile
from desilt.table.options import TableOptions

MIB = 1024 * 1024
OPTIONS = PackOptions.of(TableOptions({}, keyed=False))
FORCED = PackOptions.of(TableOptions({"compaction.force-rewrite-all-files": "true"}, keyed=False))


def data_file(index: int, size: float, **changes: object) -> DataFile:
    """The index-th file of a bucket; its name is its place and size."""
    fields = {
        "name": f"{index}:{size:g}", "size_bytes": int(size * MIB), "row_count": 10,
        "min_key": b"", "max_key": b"", "min_sequence": 10 * index, "max_sequence": 10 * index + 9,
        "schema_id": 0, "level": 0, **changes,
    }  # fmt: skip
    return DataFile(**fields)  # type: ignore[arg-type]  # plain fields


def files(*sizes: float) -> list[DataFile]:
    return [data_file(i, size) for i, size in enumerate(sizes)]


def sizes(groups: tuple[Group, ...]) -> list[list[float]]:
    return [[f.size_bytes / MIB for f in group] for group in groups]


def test_options_are_the_tables() -> None:
    raw = {"target-file-size": "100 mb", "compaction.small-file-ratio": "0.5",
           "compaction.min.file-num": "3", "source.split.open-file-cost": "1 mb"}  # fmt: skip

    assert PackOptions.of(TableOptions(raw, keyed=False)) == PackOptions(
        100 * MIB, 50 * MIB, MIB, 3
    )
    assert PackOptions(256 * MIB, 256 * MIB * 0.7, 4 * MIB, 5) == OPTIONS


# --- without buckets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        ([], []),
        ([1], []),
        ([1, 1, 1, 1], []),  # fewer than five, and far from full
        ([1, 1, 1, 1, 1], [[1, 1, 1, 1, 1]]),
        ([5, 3, 1, 4, 2], [[1, 2, 3, 4, 5]]),  # smallest first
        ([1, 1, 1, 1, 180], []),  # 180 is not small
        ([1, 1, 1, 1, 179], [[1, 1, 1, 1, 179]]),  # 179 is
        ([170, 170, 170], [[170, 170, 170]]),  # 3 × 174 = 522 ≥ 512
        ([170, 170], []),  # 348: the bin is not full, and two are too few
        ([168, 168, 164, 1], [[1, 164, 168, 168]]),  # 5 + 168 + 172 + 172 = 517
        ([168, 168, 163], []),  # 511: one short of full
        ([168, 168, 164], [[164, 168, 168]]),  # 168 + 172 + 172 = 512: exactly full
        ([100] * 10, [[100] * 5, [100] * 5]),  # 5 × 104 = 520
        ([100] * 9, [[100] * 5]),  # the other four wait
        ([300, 400, 500], []),
    ],
    ids=str,
)
def test_minor_without_buckets_packs(given: list[float], packed: list[list[float]]) -> None:
    assert sizes(pack_unordered(files(*given), OPTIONS)) == packed


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        ([1], []),  # nothing to join it with
        ([1, 1], [[1, 1]]),
        ([1, 300, 1], [[1, 1]]),
        ([100] * 6, [[100] * 5]),  # one is left over
        ([100] * 7, [[100] * 5, [100, 100]]),
        ([200, 300], []),
    ],
    ids=str,
)
def test_full_without_buckets_packs_every_small_file(
    given: list[float], packed: list[list[float]]
) -> None:
    assert sizes(pack_all_unordered(files(*given), OPTIONS)) == packed


def test_forced_full_without_buckets_takes_large_files_too() -> None:
    assert sizes(pack_all_unordered(files(300, 1, 400), FORCED)) == [[300, 1, 400]]
    assert sizes(pack_all_unordered(files(300), FORCED)) == [[300]]


# --- fixed buckets, in order --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        ([], []),
        ([1, 1, 1, 1], []),
        ([1, 2, 3, 4, 5], [[1, 2, 3, 4, 5]]),
        ([1, 2, 3, 4, 5, 6, 7], [[1, 2, 3, 4, 5]]),  # the first window alone
        ([600, 1, 1, 1, 1, 1], [[1, 1, 1, 1, 1]]),  # too heavy: the oldest drops out
        ([300, 300, 1, 1, 1, 1], [[300, 1, 1, 1, 1]]),  # 600 ≥ 512 drops one 300
        ([511, 1, 1, 1, 1, 1], [[1, 1, 1, 1, 1]]),  # 511 + 1 = 512 ≥ 512
        ([200, 200, 200, 200, 200], []),  # never five below 512
        ([1, 1, 1, 1, 600], [[1, 1, 1, 1, 600]]),  # five is looked at before the weight
    ],
    ids=str,
)
def test_minor_in_order_takes_the_first_window(
    given: list[float], packed: list[list[float]]
) -> None:
    assert sizes(pack_ordered(files(*given), OPTIONS)) == packed


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        ([], []),
        ([1, 1], []),  # fewer than three
        ([1, 1, 1], [[1, 1, 1]]),
        ([300, 1, 1, 1], [[1, 1, 1]]),  # leading large files stay
        ([300, 1, 300, 1, 1], [[1, 300, 1, 1]]),  # one in the middle does not
        ([1, 300, 1], [[1, 300, 1]]),
        ([1, 300, 300, 1], []),  # no more small than large
        ([300, 300], []),
    ],
    ids=str,
)
def test_full_in_order_takes_what_lies_behind_the_large_files(
    given: list[float], packed: list[list[float]]
) -> None:
    assert sizes(pack_all_ordered(files(*given), OPTIONS)) == packed


def test_forced_full_in_order_takes_everything() -> None:
    assert sizes(pack_all_ordered(files(300, 1, 400), FORCED)) == [[300, 1, 400]]


def test_queue_goes_by_sequence_then_time_then_name() -> None:
    given = [
        data_file(3, 1),
        data_file(1, 1, name="b", creation_millis=5),
        data_file(1, 1, name="a", creation_millis=5),
        data_file(1, 1, name="z", creation_millis=4),
        data_file(0, 1),
    ]

    assert [f.name for f in queue(given)] == ["0:1", "z", "a", "b", "3:1"]


def test_packing_does_not_depend_on_the_order_given() -> None:
    rng = random.Random(7)
    for _ in range(50):
        given = files(*(rng.choice([1, 50, 100, 170, 200, 600]) for _ in range(rng.randrange(20))))
        mixed = rng.sample(given, len(given))
        for pack in (pack_unordered, pack_all_unordered, pack_ordered, pack_all_ordered):
            assert pack(mixed, OPTIONS) == pack(given, OPTIONS)


def test_packing_takes_a_file_at_most_once() -> None:
    rng = random.Random(8)
    for _ in range(50):
        given = files(*(rng.choice([1, 100, 170, 178, 200]) for _ in range(rng.randrange(30))))
        for pack in (pack_unordered, pack_all_unordered, pack_ordered, pack_all_ordered):
            for options in (OPTIONS, FORCED):
                taken = [f.name for group in pack(given, options) for f in group]
                assert len(set(taken)) == len(taken)


def test_packing_of_a_hundred_thousand_files_is_not_quadratic() -> None:
    given = files(*([1.0] * 100_000))

    assert sum(len(g) for g in pack_all_unordered(given, OPTIONS)) == 100_000


# --- on a table ---------------------------------------------------------------------------------

SHAPES = {
    "no-buckets": {},
    "ordered": {"bucket": "1", "bucket-key": "n"},
    "unordered": {"bucket": "1", "bucket-key": "n", "bucket-append-ordered": "false"},
}


@pytest.mark.parametrize("mode", ["minor", "full"])
@pytest.mark.parametrize("shape", SHAPES)
def test_compaction_joins_small_files_and_keeps_the_rows(
    tmp_path: Path, shape: str, mode: str
) -> None:
    table = append_table(tmp_path, options=SHAPES[shape])
    for number in range(6):
        table.write(pl.DataFrame({"n": [number, -number], "v": [f"{number}", None]}))
    before = table.scan().collect()

    table.compact("minor" if mode == "minor" else "full")

    after = table.scan().collect()
    # Ordered minor packing takes one window of five; everything else takes all six.
    assert len(live_files(table)) == (2 if (shape, mode) == ("ordered", "minor") else 1)
    assert after.sort("n", "v").equals(before.sort("n", "v"))
    if shape == "ordered":
        assert after.equals(before)
    assert all(level == 0 for _, level in live_files(table))


def test_compaction_in_order_keeps_sequence_ranges(tmp_path: Path) -> None:
    """What is written later still comes later: the joined file starts where its first one did."""
    table = append_table(tmp_path, options=SHAPES["ordered"])
    for number in range(5):
        table.write(pl.DataFrame({"n": [number] * 3, "v": ["x"] * 3}))
    compacted = table.compact("full")
    table.write(pl.DataFrame({"n": [99], "v": ["last"]}))

    (joined,) = compacted.buckets[0].result.outputs
    assert (joined.min_sequence, joined.max_sequence) == (0, 14)
    assert table.scan().collect()["n"].to_list() == [n for n in range(5) for _ in range(3)] + [99]


def test_compaction_that_has_nothing_to_join_publishes_nothing(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))

    assert table.compact("full").snapshot_id is None
    assert table.compact("minor").snapshot_id is None
    assert table.handle.snapshots.latest_id() == 1
