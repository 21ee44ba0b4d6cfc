"""The pure parts of a bucket's LSM tree hold for every input: picks, sections, treatment, merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desilt.table.datatypes import parse_type
from desilt.table.lsm.pick import Growth, PickOptions, RunSize, pick_full, pick_universal
from desilt.table.lsm.run import Key, LsmFile, level_runs
from desilt.table.lsm.section import TreatOptions, overlap_bytes, sections, treat
from desilt.table.lsm.slices import slices
from desilt.table.manifest.entry import DataFile
from desilt.table.merge.engine import Deduplicate
from desilt.table.merge.feed import feed_of, feed_of_rows
from desilt.table.merge.reduce import merge, merge_rows
from desilt.table.merge.rule import RETRACT_KINDS, MergeRule
from desilt.table.schema import KIND, SEQUENCE
from desilt.table.verify_keyed import KeyedExpectation, Merging, check_keyed

PURE = settings(max_examples=120, deadline=None, derandomize=True, database=None)

# --- picks ----------------------------------------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn) -> list[RunSize]:
    """Newest first: level-0 runs, then some of the levels upwards."""
    sizes = st.integers(1, 10**6)
    level0 = [RunSize(0, size) for size in draw(st.lists(sizes, max_size=12))]
    levels = sorted(draw(st.sets(st.integers(1, 5), max_size=5)))
    return [*level0, *(RunSize(level, draw(sizes)) for level in levels)]


PICK_OPTIONS = st.builds(
    PickOptions,
    trigger=st.integers(2, 8),
    size_amplification_percent=st.integers(0, 400),
    size_ratio_percent=st.integers(0, 100),
    growth=st.sampled_from(Growth),
    up_level0=st.booleans(),
)


@PURE
@given(runs=runs(), options=PICK_OPTIONS)
def test_a_pick_is_a_prefix_whose_output_keeps_the_levels_in_order(
    runs: list[RunSize], options: PickOptions
) -> None:
    pick = pick_universal(runs, options)
    if pick is None:
        return

    assert 1 <= pick.count <= len(runs)
    assert 0 < pick.output_level <= options.max_level
    assert all(pick.output_level >= run.level for run in runs[: pick.count])
    assert all(pick.output_level < run.level for run in runs[pick.count :])
    assert pick.reason


@PURE
@given(runs=runs(), options=PICK_OPTIONS)
def test_nothing_is_picked_below_the_trigger_and_something_above_it(
    runs: list[RunSize], options: PickOptions
) -> None:
    pick = pick_universal(runs, options)

    if len(runs) < options.trigger and not options.up_level0:
        assert pick is None
    if len(runs) > options.trigger:
        assert pick is not None


@PURE
@given(runs=runs(), options=PICK_OPTIONS)
def test_a_pick_of_too_many_runs_brings_them_down_to_the_trigger(
    runs: list[RunSize], options: PickOptions
) -> None:
    pick = pick_universal(runs, options)

    if pick is not None and "file-number" in pick.reason:
        assert len(runs) - pick.count + 1 <= options.trigger


@PURE
@given(runs=runs(), options=PICK_OPTIONS)
def test_compacting_what_is_picked_again_and_again_comes_to_an_end(
    runs: list[RunSize], options: PickOptions
) -> None:
    for _ in range(len(runs) + 2):
        pick = pick_universal(runs, options)
        if pick is None:
            return
        merged = RunSize(pick.output_level, sum(r.size_bytes for r in runs[: pick.count]))
        after = [merged, *runs[pick.count :]]
        if after == runs:
            return  # one run that stays where it is
        assert len(after) <= len(runs)
        runs = after

    pytest.fail("picks never end")


@PURE
@given(runs=runs(), options=PICK_OPTIONS)
def test_a_full_pick_takes_everything_to_the_top(runs: list[RunSize], options: PickOptions) -> None:
    pick = pick_full(runs, options)

    assert (pick is None) == (not runs)
    if pick is not None:
        assert (pick.count, pick.output_level) == (len(runs), options.max_level)


# --- sections -------------------------------------------------------------------------------------


def lsm(
    name: str, low: int, high: int, *, level: int = 0, size: int = 1, deletes: int = 0
) -> LsmFile:
    file = DataFile(
        name=name, size_bytes=size, row_count=1, min_key=b"", max_key=b"", min_sequence=0,
        max_sequence=0, schema_id=0, level=level, delete_row_count=deletes,
    )  # fmt: skip
    return LsmFile(file, (low,), (high,))


@st.composite
def files(draw: st.DrawFn) -> list[LsmFile]:
    """Any files; those above level 0 do not overlap inside their level."""
    spans = draw(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.integers(1, 9)), max_size=14)
    )
    found = [
        lsm(f"f{i}", low, low + width, size=size, deletes=size % 3 // 2)
        for i, (low, width, size) in enumerate(spans)
    ]
    start = 0
    for i, (gap, width) in enumerate(
        draw(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=6))
    ):
        found.append(lsm(f"top{i}", start + gap, start + gap + width, level=5, size=width + 1))
        start += gap + width
    return draw(st.permutations(found))


def _bounds(group: Sequence[LsmFile]) -> tuple[Key, Key]:
    return min(f.low for f in group), max(f.high for f in group)


def _deepest_overlap(group: Sequence[LsmFile]) -> int:
    """How many files hold one and the same key at most: fewer runs are impossible."""
    return max(sum(1 for g in group if g.low <= f.low <= g.high) for f in group)


@PURE
@given(files=files())
def test_sections_hold_every_file_once_in_ranges_that_never_touch(files: list[LsmFile]) -> None:
    found = sections(files)

    assert sorted(f.file.name for s in found for f in s.files) == sorted(f.file.name for f in files)
    for left, right in pairwise(found):
        assert max(f.high for f in left.files) < min(f.low for f in right.files)


@PURE
@given(files=files())
def test_the_runs_of_a_section_ascend_and_are_as_few_as_possible(files: list[LsmFile]) -> None:
    for section in sections(files):
        for run in section.runs:
            assert all(left.high < right.low for left, right in pairwise(run))
        assert len(section.runs) == _deepest_overlap(section.files)


@PURE
@given(files=files())
def test_a_section_cannot_be_cut_further(files: list[LsmFile]) -> None:
    for section in sections(files):
        ordered = sorted(section.files, key=lambda f: f.low)
        high = ordered[0].high
        for f in ordered[1:]:
            assert f.low <= high
            high = max(high, f.high)


@PURE
@given(files=files())
def test_overlap_bytes_count_files_that_share_a_key_range_chain(files: list[LsmFile]) -> None:
    alone = sum(f.file.size_bytes for s in sections(files) if len(s.runs) == 1 for f in s.files)

    assert overlap_bytes(files) + alone == sum(f.file.size_bytes for f in files)


@PURE
@given(files=files())
def test_runs_of_a_bucket_hold_every_file_once_newest_level_first(files: list[LsmFile]) -> None:
    found = level_runs(files)

    assert sorted(f.file.name for r in found for f in r.files) == sorted(f.file.name for f in files)
    levels = [r.level for r in found]
    assert levels == sorted(levels)
    assert levels.count(5) <= 1
    assert all(len(r.files) == 1 for r in found if r.level == 0)


@PURE
@given(files=files(), small=st.integers(0, 8), output=st.integers(1, 5), force=st.booleans())
def test_treatment_leaves_one_run_at_the_output_level(
    files: list[LsmFile], small: int, output: int, force: bool
) -> None:
    """Whatever was picked ends up disjoint at the output level, each file in one place."""
    if output < 5:  # level 5 is then not part of the pick
        files = [f for f in files if f.file.level == 0]
    found = treat(files, TreatOptions(output, 5, small, force_rewrite=force))

    rewritten = [f for part in found.rewrites for s in part for f in s.files]
    touched = [f.file.name for f in (*found.upgrades, *rewritten)]
    assert len(touched) == len(set(touched))
    left = [f for f in files if f.file.name not in touched]
    assert all(f.file.level == output for f in left)
    spans = sorted(
        [_bounds([f]) for f in (*left, *found.upgrades)]
        + [_bounds([f for s in part for f in s.files]) for part in found.rewrites]
    )
    assert all(left_span[1] < right[0] for left_span, right in pairwise(spans))
    for f in found.upgrades:
        assert f.file.level != output
        assert not (output == 5 and f.file.delete_row_count), "a delete must not reach the top"
        assert not force


# --- merge ----------------------------------------------------------------------------------------

LAST = Deduplicate()
KEY_TYPES = {"INT": st.integers(-3, 3), "STRING": st.sampled_from(["", "a", "b", "é"]),
             "DOUBLE": st.sampled_from([-math.inf, -0.0, 0.0, 1.5, math.nan]),
             "BOOLEAN": st.booleans()}  # fmt: skip
POLARS = {"INT": pl.Int32(), "STRING": pl.String(), "DOUBLE": pl.Float64(), "BOOLEAN": pl.Boolean()}


@dataclass(frozen=True)
class Record:
    """One record of a key, as a data file holds it; ``user`` is the sequence field."""

    key: tuple[object, ...]
    sequence: int
    kind: int
    user: int | None
    run: int


@dataclass(frozen=True)
class Runs:
    """Records cut into runs, each holding a key at most once; sequences never tie in a key."""

    rule: MergeRule
    types: tuple[str, ...]
    runs: tuple[tuple[Record, ...], ...]

    def frames(self) -> list[pl.DataFrame]:
        return [self._frame(run) for run in self.runs]

    def _frame(self, run: Sequence[Record]) -> pl.DataFrame:
        keys = [
            pl.Series(f"_KEY_k{i}", [r.key[i] for r in run], POLARS[t])
            for i, t in enumerate(self.types)
        ]
        system = [
            pl.Series(SEQUENCE, [r.sequence for r in run], pl.Int64()),
            pl.Series(KIND, [r.kind for r in run], pl.Int8()),
            pl.Series("u", [r.user for r in run], pl.Int64()),
            pl.Series("v", [f"{r.sequence}" for r in run], pl.String()),
        ]
        unsorted = pl.DataFrame([*keys, *system])
        return merge_rows(unsorted, MergeRule(self.rule.keys, self.rule.key_types), LAST)

    def naive(self, *, drop_deletes: bool) -> list[tuple[object, ...]]:
        """The fold, record by record: what the specification says."""
        best: dict[str, Record] = {}
        for record in (r for run in self.runs for r in run):
            name = repr(record.key)
            if name not in best or self._after(record, best[name]):
                best[name] = record
        kept = [r for r in best.values() if not (drop_deletes and r.kind in RETRACT_KINDS)]
        return sorted([(*map(repr, r.key), r.sequence, r.kind, r.user) for r in kept], key=repr)

    def _after(self, record: Record, other: Record) -> bool:
        return self._rank(record) > self._rank(other)

    def _rank(self, record: Record) -> tuple[float, int, bool]:
        user = 0.0
        if self.rule.sequence_fields:
            sign = -1 if self.rule.descending else 1
            user = -math.inf if record.user is None else float(sign * record.user)
        return (user, record.sequence, record.kind not in RETRACT_KINDS)


@st.composite
def merges(draw: st.DrawFn, *, with_user: bool = True) -> Runs:
    types = tuple(draw(st.lists(st.sampled_from(sorted(KEY_TYPES)), min_size=1, max_size=2)))
    user = with_user and draw(st.booleans())
    rule = MergeRule(
        tuple(f"_KEY_k{i}" for i in range(len(types))),
        tuple(parse_type(t) for t in types),
        ("u",) if user else (),
        (parse_type("BIGINT"),) if user else (),
        descending=draw(st.booleans()),
    )
    keys = st.tuples(*(KEY_TYPES[t] for t in types))
    shapes = draw(
        st.lists(st.lists(keys, unique_by=repr, min_size=1, max_size=8), min_size=1, max_size=5)
    )
    total = sum(map(len, shapes))
    ordered = draw(st.booleans())  # runs written one after the other, or sequences all over
    numbers = list(range(total)) if ordered else draw(st.permutations(range(total)))
    kinds = st.sampled_from((0, 0, 0, 2, 3, 1))
    users = st.one_of(st.none(), st.integers(-2, 2))
    records = iter(numbers)
    return Runs(
        rule,
        types,
        tuple(
            tuple(Record(k, next(records), draw(kinds), draw(users), i) for k in run)
            for i, run in enumerate(shapes)
        ),
    )


def _rows(frame: pl.DataFrame, width: int) -> list[tuple[object, ...]]:
    rows = [(*map(repr, r[:width]), *r[width : width + 3]) for r in frame.iter_rows()]
    return sorted(rows, key=repr)


@PURE
@given(given_runs=merges(), drop=st.booleans())
def test_merge_equals_the_naive_fold(given_runs: Runs, drop: bool) -> None:
    merged = merge(given_runs.frames(), given_runs.rule, LAST, drop_deletes=drop)

    assert _rows(merged, len(given_runs.types)) == given_runs.naive(drop_deletes=drop)
    assert merged.get_column("v").to_list() == [str(s) for s in merged.get_column(SEQUENCE)]


@PURE
@given(given_runs=merges(with_user=False))
def test_the_fast_way_by_age_equals_the_general_way(given_runs: Runs) -> None:
    frames = given_runs.frames()
    quick = feed_of(frames, given_runs.rule)
    general = feed_of_rows(pl.concat(frames), given_runs.rule)

    assert quick.counts.tolist() == general.counts.tolist()
    # Records are told apart by what they hold: rows lie in another order.
    assert quick.rows[pl.Series(quick.order)].equals(general.rows[pl.Series(general.order)])


@PURE
@given(given_runs=merges(), drop=st.booleans(), chunk=st.integers(1, 4))
def test_slicing_at_any_chunk_size_merges_to_the_same_rows(
    given_runs: Runs, drop: bool, chunk: int
) -> None:
    """Row groups end anywhere; records of one key must still meet."""
    frames = given_runs.frames()
    whole = merge(frames, given_runs.rule, LAST, drop_deletes=drop)

    chunked = [iter([f.slice(i, chunk) for i in range(0, f.height, chunk)]) for f in frames]
    parts = [
        merge(part, given_runs.rule, LAST, drop_deletes=drop)
        for part in slices(chunked, given_runs.rule)
    ]

    assert pl.concat(parts).equals(whole)


@PURE
@given(given_runs=merges(), drop=st.booleans())
def test_the_independent_check_agrees_with_the_merge(given_runs: Runs, drop: bool) -> None:
    """Two routes, one answer: else verification would quarantine good buckets."""
    expected = KeyedExpectation(Merging(given_runs.rule, LAST), ("v",), drop_deletes=drop)
    expected.observe(given_runs.frames())
    merged = merge(given_runs.frames(), given_runs.rule, LAST, drop_deletes=drop)

    check_keyed(expected, [merged], ("v",))


@PURE
@given(given_runs=merges())
def test_a_write_buffer_keeps_the_last_record_of_each_key(given_runs: Runs) -> None:
    rows = pl.concat(given_runs.frames())

    kept = merge_rows(rows, given_runs.rule, LAST)

    assert _rows(kept, len(given_runs.types)) == given_runs.naive(drop_deletes=False)
