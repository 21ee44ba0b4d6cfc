"""Manifests merged on demand: what is merged, what is not, and that nothing else changes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from support.builders import catalog, keyed_table, kv, live_files, orphans, reopened, rows_of
from support.faulty import FaultyStorage

from desilt.table.commit import Committer
from desilt.table.commit_files import manifest_meta
from desilt.table.errors import CommitConflict
from desilt.table.manifest.codec import ManifestMeta, write_manifest
from desilt.table.manifest.entry import DataFile, EntryKind, ManifestEntry, entries_frame
from desilt.table.manifest_compaction import apply_manifest_compaction, plan_manifest_compaction
from desilt.table.manifest_rewrite import Roller
from desilt.table.metadata import MetadataReader
from desilt.table.row import encode_row
from desilt.table.snapshot import CommitKind, Snapshot
from desilt.table.table import Table

EMPTY_ROW = encode_row((), ())


def written(folder: Path, options: dict[str, str] | None = None, turns: int = 9) -> Table:
    """Writes and compactions, with manifests left unmerged."""
    table = keyed_table(folder, options=options)
    for turn in range(turns):
        table.write(kv((turn % 4, f"v{turn}")))
        if turn % 4 == 3:
            table.compact("full")
    return table


def latest(table: Table) -> Snapshot:
    found = table.handle.snapshots.latest()
    assert found is not None
    return found


def metas_of(table: Table) -> tuple[ManifestMeta, ...]:
    return MetadataReader(table.handle).manifests(latest(table))


def test_all_small_ones_become_one_without_deletes(tmp_path: Path) -> None:
    table = written(tmp_path)
    rows, files, before = rows_of(table), live_files(table), latest(table)
    plan = table.plan_manifest_compaction()
    result = table.compact_manifests()
    after = latest(table)
    (merged,) = metas_of(table)

    assert (len(plan.merged), plan.kept, plan.live) == (11, 0, len(files))
    assert json.loads(json.dumps(plan.as_dict()))["entries"] == plan.entries > plan.live
    assert (result.manifests_before, result.manifests_after) == (11, 1)
    assert result.bytes_after == merged.size_bytes < (result.bytes_before or 0)
    assert (merged.added_files, merged.deleted_files) == (len(files), 0)
    assert (rows_of(table), live_files(table)) == (rows, files)
    assert (after.id, after.commit_kind) == (before.id + 1, CommitKind.COMPACT)
    assert after.commit_identifier == 2**63 - 1
    assert (after.delta_record_count, after.total_record_count) == (0, before.total_record_count)
    assert MetadataReader(table.handle).manifest_list(after.delta_manifest_list) == ()
    assert orphans(table) == set()


def test_nothing_to_do_makes_no_snapshot(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    assert table.compact_manifests().snapshot_id is None
    table.write(kv((1, "a")))
    assert table.plan_manifest_compaction().empty
    assert table.compact_manifests().snapshot_id is None
    table.write(kv((2, "a")))
    assert table.compact_manifests().snapshot_id == 3
    result = table.compact_manifests()

    assert (result.snapshot_id, result.manifests_before, result.manifests_after) == (None, 1, 1)
    assert table.handle.snapshots.latest_id() == 3


def test_an_empty_table_keeps_its_index(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"deletion-vectors.enabled": "true"})
    table.write(kv(*((n, "a") for n in range(9))))
    table.compact("full")
    table.write(kv((3, "b")))
    table.compact("minor")
    before = latest(table)
    table.compact_manifests()

    assert before.index_manifest is not None
    assert latest(table).index_manifest == before.index_manifest


def test_what_came_meanwhile_is_merged_too(tmp_path: Path) -> None:
    table = written(tmp_path)
    storage = FaultyStorage()
    storage.hook("before", "create", "/snapshot/snapshot-", lambda: table.write(kv((99, "x"))))
    result = reopened(table, storage).compact_manifests()

    assert result.snapshot_id == latest(table).id == 13
    assert len(metas_of(table)) == 1
    assert (99, "x") in rows_of(table)
    assert orphans(table) == set()


def test_who_merges_first_does_the_work(tmp_path: Path) -> None:
    table = written(tmp_path)
    plan = plan_manifest_compaction(table.handle)
    storage = FaultyStorage()
    storage.hook("before", "create", "/snapshot/snapshot-", table.compact_manifests)
    raced = reopened(table, storage)

    result = raced.compact_manifests()

    assert result.snapshot_id is None
    assert latest(table).id == 12
    assert orphans(table) == set()
    with pytest.raises(CommitConflict, match="merged already"):
        apply_manifest_compaction(table.handle, plan, Committer(table.handle))


def test_large_manifests_are_rolled_and_then_left_alone(tmp_path: Path) -> None:
    table = catalog(tmp_path).create_table(
        "db.t", {"p": "STRING", "n": "INT"}, partition_by=["p"],
        options={"bucket": "-1", "manifest.target-file-size": "6 kb"},
    )  # fmt: skip
    rng = random.Random(5)
    names = [f"{rng.getrandbits(200):x}" for _ in range(300)]
    for part in (names[:150], names[150:]):
        table.write(pl.DataFrame({"p": part, "n": pl.Series([1] * 150, dtype=pl.Int32)}))
    table.compact_manifests()
    metas = metas_of(table)

    assert len(metas) > 2
    assert all(m.size_bytes >= 6 * 1024 for m in metas[:-1])
    assert max(m.size_bytes for m in metas) < 12 * 1024
    assert sum(m.added_files for m in metas) == 300
    assert table.compact_manifests().snapshot_id is None
    # Statistics are those of each manifest: partitions are found by them.
    for name in names[::60]:
        assert table.scan(filter=pl.col("p") == name).collect()["p"].to_list() == [name]


def entry(name: str) -> ManifestEntry:
    file = DataFile(name, 10, 1, EMPTY_ROW, EMPTY_ROW, 0, 0, 0, 0)
    return ManifestEntry(EntryKind.ADD, EMPTY_ROW, 0, 1, file)


@pytest.mark.parametrize("seed", range(6))
def test_rolling_keeps_order_and_reaches_the_target(seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    target = rng.choice([1, 3_000, 20_000, 1_000_000])
    stored: list[tuple[pl.DataFrame, bytes]] = []

    def store(entries: pl.DataFrame, data: bytes) -> ManifestMeta:
        stored.append((entries, data))
        return manifest_meta(f"m{len(stored)}", len(data), entries, ())

    roller = Roller(target, store)
    given: list[str] = []
    for _ in range(rng.randrange(1, 12)):
        names = [f"{rng.getrandbits(160):x}" for _ in range(rng.choice([1, 7, 300, 900]))]
        given += names
        roller.add(entries_frame([entry(n) for n in names]))
    metas = roller.finish()

    assert [n for frame, _ in stored for n in frame["name"].to_list()] == given
    assert [m.size_bytes for m in metas] == [len(data) for _, data in stored]
    assert all(len(data) >= target for _, data in stored[:-1])
    assert all(len(data) < 2 * target + 8_000 for _, data in stored)
    assert write_manifest(stored[0][0])[:100] == stored[0][1][:100]
