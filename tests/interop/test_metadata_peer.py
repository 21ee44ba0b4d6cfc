"""What our metadata says of data files: the same as the peers' scans, and true of the rows.

Files' key bounds, buckets and partitions are compared with the bytes that Java makes of the rows
in the file; statistics with the rows themselves, as a bound that cuts off a row would hide it from
every reader that filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.frames import wire_of
from support.histories import History
from support.peers import FileInfo, Peer
from support.players import DESILT, Play
from support.shapes import Limits, Shape

from desilt.table import paths
from desilt.table.catalog import open_table
from desilt.table.errors import BadData
from desilt.table.manifest.entry import FileSource, ManifestEntry, frame_entries
from desilt.table.metadata import MetadataReader
from desilt.table.plan import partition_text
from desilt.table.row import decode_row, series_from_values
from desilt.table.schema import TableSchema
from desilt.table.stats import SimpleStats

RETRACTS = [1, 3]
BY_DESILT = {
    "desilt writes": 4, "desilt deletes": 1, "desilt compacts": 2, "desilt compacts fully": 1,
}  # fmt: skip
BY_BOTH = {**BY_DESILT, "java writes": 3, "java compacts": 1}


def entries_of(path: Path) -> list[ManifestEntry]:
    """Live files of the latest snapshot, whole."""
    handle = open_table(str(path)).handle
    reader, snapshot = MetadataReader(handle), handle.snapshots.latest()
    assert snapshot is not None
    slim = frame_entries(reader.live(snapshot))
    return [
        whole
        for entry in slim
        for whole in reader.entries(snapshot, entry.partition, entry.bucket, [entry.file.name])
    ]


def listed(path: Path) -> list[dict[str, Any]]:
    """Our live files in the peers' words."""
    return [
        {
            "partition": entry.partition.hex(),
            "bucket": entry.bucket,
            "totalBuckets": entry.total_buckets,
            "level": entry.file.level,
            "name": entry.file.name,
            "size": entry.file.size_bytes,
            "rowCount": entry.file.row_count,
            "minKey": entry.file.min_key.hex(),
            "maxKey": entry.file.max_key.hex(),
            "minSeq": entry.file.min_sequence,
            "maxSeq": entry.file.max_sequence,
            "deleteRowCount": entry.file.delete_row_count,
            "fileSource": None
            if entry.file.file_source is None
            else FileSource(entry.file.file_source).name,
            "schemaId": entry.file.schema_id,
        }
        for entry in entries_of(path)
    ]


def by_name(files: Sequence[FileInfo] | Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{k: v for k, v in file.items() if k != "partition_values"} for file in files]
    return sorted(kept, key=lambda file: str(file["name"]))


def played(history: History, peers: dict[str, Peer], creator: str, warehouse: Path) -> Play:
    play = Play(history, peers, creator, warehouse)
    weights = BY_BOTH if creator != DESILT else BY_DESILT
    keyed = history.shape.keyed
    possible = {k: v for k, v in weights.items() if keyed or k.endswith("writes")}
    play.run(6, possible)
    play.step("desilt writes")
    play.step("desilt compacts")
    play.check(DESILT)
    return play


@pytest.mark.parametrize("seed", range(5000, 5006))
def test_java_lists_the_files_that_we_list(
    java: Peer, java09: Peer, tmp_path: Path, seed: int
) -> None:
    history = History(seed, Limits(), keyed=seed % 4 != 3)
    play = played(history, {"java": java}, "java", tmp_path)

    assert by_name(java.files(play.path)) == by_name(listed(play.path))
    assert by_name(java09.files(play.path)) == by_name(listed(play.path))


@pytest.mark.parametrize("seed", range(6000, 6009))
def test_our_files_are_described_as_their_rows_are(java: Peer, tmp_path: Path, seed: int) -> None:
    history = History(seed, Limits(), keyed=seed % 4 != 3)
    play = played(history, {}, DESILT, tmp_path)
    schema = open_table(str(play.path)).schema
    for entry in entries_of(play.path):
        rows = data_of(play.path, schema, entry)
        check_counts(entry, rows, schema)
        check_places(entry, rows, history.shape, java)
        check_statistics(entry, rows, schema)


def data_of(path: Path, schema: TableSchema, entry: ManifestEntry) -> pl.DataFrame:
    folder = paths.bucket_dir(str(path), partition_text(schema, entry.partition), entry.bucket)
    return pl.read_parquet(paths.data_file(folder, entry.file.name), hive_partitioning=False)


def check_counts(entry: ManifestEntry, rows: pl.DataFrame, schema: TableSchema) -> None:
    file = entry.file
    assert file.row_count == rows.height
    if not schema.keyed:
        assert file.max_sequence - file.min_sequence == rows.height - 1
        return
    assert file.delete_row_count == rows["_VALUE_KIND"].is_in(RETRACTS).sum()
    numbers = rows["_SEQUENCE_NUMBER"]
    assert (file.min_sequence, file.max_sequence) == (numbers.min(), numbers.max())


def check_places(entry: ManifestEntry, rows: pl.DataFrame, shape: Shape, java: Peer) -> None:
    """Partition, bucket and key bounds are the bytes and numbers that Java makes of the rows."""
    assert entry.partition == only(java_rows(java, shape, shape.partition_keys, rows))
    count = int(shape.options["bucket"])
    assert entry.total_buckets == count
    hashed = shape.options.get("bucket-key", ",".join(shape.trimmed_keys))
    if count > 0:
        types, values = columns_of(shape, hashed.split(","), rows)
        assert set(java.bucket(types, values, count)) == {entry.bucket}
    keys = java_rows(java, shape, shape.trimmed_keys, rows)
    assert (entry.file.min_key, entry.file.max_key) == (keys[0], keys[-1])


def columns_of(
    shape: Shape, names: Sequence[str], rows: pl.DataFrame
) -> tuple[list[str], list[list[Any]]]:
    types = [shape.columns[name] for name in names]
    columns = [wire_of(t, rows.get_column(n)) for n, t in zip(names, types, strict=True)]
    return types, [list(row) for row in zip(*columns, strict=True)] or [[]] * rows.height


def java_rows(java: Peer, shape: Shape, names: Sequence[str], rows: pl.DataFrame) -> list[bytes]:
    types, values = columns_of(shape, names, rows)
    return [bytes.fromhex(row["key_hex"] or row["hex"]) for row in java.binary_row(types, values)]


def only(values: Sequence[bytes]) -> bytes:
    (value,) = set(values)
    return value


def check_statistics(entry: ManifestEntry, rows: pl.DataFrame, schema: TableSchema) -> None:
    file = entry.file
    names = schema.names if file.value_stats_cols is None else file.value_stats_cols
    bound(file.value_stats, names, rows, schema)
    bound(file.key_stats, schema.trimmed_keys, rows, schema)


def bound(
    stats: SimpleStats, names: Sequence[str], rows: pl.DataFrame, schema: TableSchema
) -> None:
    types = schema.types(names)
    lows, highs = decode_row(stats.min_values, types), decode_row(stats.max_values, types)
    counts = stats.null_counts or [None] * len(names)
    for name, kind, low, high, nulls in zip(names, types, lows, highs, counts, strict=True):
        column = rows.get_column(name)
        assert nulls in (None, column.null_count()), name
        if low is None or high is None:
            assert low is high, name
            continue
        assert not column.dtype.is_float() or not column.is_nan().any(), name
        least, most = series_from_values(name, [low, high], kind).to_list()
        values = column.drop_nulls().to_list()
        assert least <= min(values), name
        assert most >= max(values), name


@pytest.mark.parametrize("moment", ["0001-01-01", "1677-09-20", "2262-04-12", "9999-12-31"])
@pytest.mark.parametrize("zone", ["", " WITH LOCAL TIME ZONE"])
def test_nanoseconds_that_64_bits_cannot_hold_are_refused(
    java: Peer, tmp_path: Path, moment: str, zone: str
) -> None:
    """Polars makes the largest number of them: a compaction would change the rows for good."""
    columns = {"k": "INT NOT NULL", "v": f"TIMESTAMP(9){zone}"}
    path = java.create_table(tmp_path, "t", columns, primary_keys=["k"], options={"bucket": "1"})
    ms = (date.fromisoformat(moment) - date(1970, 1, 1)).days * 86_400_000
    for k in range(2):
        java.insert(path, [[k, {"ms": ms, "ns": 1}], [9, None]])
    with pytest.raises(BadData, match="column=v"):
        open_table(str(path)).scan().collect()
    with pytest.raises(BadData, match="column=v"):
        open_table(str(path)).compact("full")

    kept = [row for row in java.read(path)["rows"] if row[0] != 9]
    assert kept == [[k, {"ms": ms, "ns": 1}] for k in range(2)]
