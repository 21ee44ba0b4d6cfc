"""The peers agree with each other: what one library writes, the others read.

These tests run none of this project's code. They prove the harness, and they pin the disagreements
between the libraries, so that a test of ours which trips over one can be told from a fault of ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.canonical import Json, decode_rows, encode_rows
from support.peers import Peer, PeerError, PeerUnsupported

SEED = 20260901
KEYS = 60
COLUMNS = {
    "day": "STRING NOT NULL",
    "k": "BIGINT NOT NULL",
    "flag": "BOOLEAN",
    "tiny": "TINYINT",
    "small": "SMALLINT",
    "i": "INT",
    "f": "FLOAT",
    "d": "DOUBLE",
    "wide": "DECIMAL(20, 4)",
    "s": "VARCHAR(40)",
    "raw": "BYTES",
    "date": "DATE",
    "t": "TIME(3)",
    "ts": "TIMESTAMP(6)",
    "ltz": "TIMESTAMP(3) WITH LOCAL TIME ZONE",
}
TYPES = list(COLUMNS.values())
Row = list[Json]


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> dict[str, Peer]:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def a_float(rng: random.Random) -> str:
    return repr(rng.choice([rng.random(), rng.uniform(-1e20, 1e20), 1e-7, -0.0, 3.0]))


def a_float32(rng: random.Random) -> str:
    return repr(rng.randrange(-(2**20), 2**20) / 64)  # exact in 32 bits


def digits_of(scale: int, places: int) -> Callable[[random.Random], str]:
    def make(rng: random.Random) -> str:
        whole = rng.randrange(10 ** rng.randrange(1, places))
        return f"{rng.choice(['', '-'])}{whole + 1}.{rng.randrange(10**scale):0{scale}d}"

    return make


def a_moment(rng: random.Random, micros: bool) -> dict[str, int]:
    # After 1970: ORC's Java library cannot keep a fraction of the last second before it.
    return {"ms": rng.randrange(2**41), "ns": rng.randrange(1000) * 1000 if micros else 0}


VALUES: dict[str, Callable[[random.Random], Json]] = {
    "BOOLEAN": lambda rng: rng.random() < 0.5,
    "TINYINT": lambda rng: rng.randrange(-128, 128),
    "SMALLINT": lambda rng: rng.randrange(-(2**15), 2**15),
    "INT": lambda rng: rng.randrange(-(2**31), 2**31),
    "BIGINT": lambda rng: rng.randrange(-(2**63), 2**63),
    "FLOAT": a_float32,
    "DOUBLE": a_float,
    "DECIMAL(20, 4)": digits_of(4, 16),
    "DECIMAL(10, 2)": digits_of(2, 8),
    "VARCHAR(40)": lambda rng: "aé漢😀 z"[: rng.randrange(8)] * rng.randrange(4),
    "BYTES": lambda rng: rng.randbytes(rng.randrange(20)).hex(),
    "DATE": lambda rng: f"{rng.randrange(1600, 9999)}-{rng.randrange(1, 13):02d}-28",
    "TIME(3)": lambda rng: rng.randrange(86_400_000),
    "TIMESTAMP(6)": lambda rng: a_moment(rng, micros=True),
    "TIMESTAMP(3) WITH LOCAL TIME ZONE": lambda rng: a_moment(rng, micros=False),
}


def maybe(rng: random.Random, type_text: str) -> Json:
    return None if rng.random() < 0.15 else VALUES[type_text](rng)


def some_rows(rng: random.Random, count: int) -> list[Row]:
    keys = rng.sample(range(KEYS), count)
    return [[f"d{k % 2}", k, *(maybe(rng, text) for text in TYPES[2:])] for k in keys]


def by_key(rows: Sequence[Sequence[Json]]) -> dict[Json, Row]:
    found = {row[1]: list(row) for row in rows}
    assert len(found) == len(rows), "a key came twice"
    return found


def create(peer: Peer, warehouse: Path, file_format: str, **options: str) -> Path:
    return peer.create_table(
        warehouse,
        "t",
        COLUMNS,
        partition_keys=["day"],
        primary_keys=["day", "k"],
        options={"bucket": "2", "file.format": file_format, **options},
    )


def fill(peer: Peer, path: Path, rng: random.Random, commits: int = 3) -> dict[Json, Row]:
    """Commits overlapping rows and returns what a merged read must hold."""
    expected: dict[Json, Row] = {}
    for _ in range(commits):
        rows = some_rows(rng, KEYS // 2)
        peer.insert(path, rows)
        expected |= by_key(rows)
    return expected


@pytest.mark.parametrize("file_format", ["parquet", "orc", "avro"])
@pytest.mark.parametrize("writer", ["java", "java09", "pypaimon"])
def test_every_reader_finds_the_writers_rows(
    peers: dict[str, Peer], tmp_path: Path, writer: str, file_format: str
) -> None:
    path = create(peers[writer], tmp_path, file_format)
    expected = fill(peers[writer], path, random.Random(SEED))
    for name, reader in peers.items():
        if (writer, name) == ("java09", "pypaimon"):
            continue  # pinned below
        assert by_key(reader.read(path)["rows"]) == expected, name


def test_pypaimon_cannot_read_the_oldest_version(
    java09: Peer, pypaimon: Peer, tmp_path: Path
) -> None:
    path = create(java09, tmp_path, "parquet")
    fill(java09, path, random.Random(SEED), commits=1)
    with pytest.raises(PeerError, match="_VALUE_STATS_COLS"):
        pypaimon.read(path)


def test_the_oldest_version_cannot_read_arrows_short_decimals(
    java09: Peer, pypaimon: Peer, tmp_path: Path
) -> None:
    columns = {"k": "INT NOT NULL", "v": "DECIMAL(10, 2)"}
    path = pypaimon.create_table(
        tmp_path, "t", columns, primary_keys=["k"], options={"bucket": "1"}
    )
    pypaimon.insert(path, [[1, "1.25"]])
    with pytest.raises(PeerError, match="UnsupportedOperationException"):
        java09.read(path)


@pytest.mark.parametrize("writer", ["java", "java09"])
def test_deletes_and_compaction_are_seen_by_all(
    peers: dict[str, Peer], tmp_path: Path, writer: str
) -> None:
    peer = peers[writer]
    path = create(peer, tmp_path, "parquet")
    expected = fill(peer, path, random.Random(SEED))
    gone = sorted(expected, key=str)[:10]
    peer.write(path, [["-D", *expected.pop(key)] for key in gone], user="remover", identifier=7)
    compacted = peer.compact(path)

    assert len(compacted) == 1
    assert peer.compact(path) == []
    assert {file["level"] for file in peer.files(path)} == {5}
    kinds = [(row["kind"], row["commitUser"] == "remover") for row in peer.snapshots(path)]
    assert kinds == [("APPEND", False)] * 3 + [("APPEND", True), ("COMPACT", False)]
    for name in ("java", "java09"):
        assert by_key(peers[name].read(path)["rows"]) == expected, name
        before = by_key(peers[name].read(path, snapshot=3)["rows"])
        assert set(before) == set(expected) | set(gone), name


def test_java_compacts_what_pypaimon_wrote(java: Peer, pypaimon: Peer, tmp_path: Path) -> None:
    path = create(pypaimon, tmp_path, "parquet")
    expected = fill(pypaimon, path, random.Random(SEED))
    java.compact(path)
    assert by_key(pypaimon.read(path)["rows"]) == expected
    assert {file["level"] for file in pypaimon.files(path)} == {5}


def test_a_compaction_can_be_kept_to_one_bucket(java: Peer, tmp_path: Path) -> None:
    path = create(java, tmp_path, "parquet")
    fill(java, path, random.Random(SEED))
    java.compact(path, partition={"day": "d1"}, bucket=0)
    done = {
        (*file["partition_values"], file["bucket"]) for file in java.files(path) if file["level"]
    }
    assert done == {("d1", 0)}


def test_java_and_pypaimon_list_the_same_files(java: Peer, pypaimon: Peer, tmp_path: Path) -> None:
    path = create(java, tmp_path, "parquet")
    fill(java, path, random.Random(SEED))
    for snapshot in (None, 1):
        listings = [
            sorted(peer.files(path, snapshot=snapshot), key=lambda file: file["name"])
            for peer in (java, pypaimon)
        ]
        assert listings[0] == listings[1]


def test_pypaimon_takes_deletes_from_a_column_alone(peers: dict[str, Peer], tmp_path: Path) -> None:
    pypaimon = peers["pypaimon"]
    columns = {"k": "INT NOT NULL", "kind": "STRING"}
    plain = pypaimon.create_table(
        tmp_path, "plain", columns, primary_keys=["k"], options={"bucket": "1"}
    )
    with pytest.raises(PeerUnsupported, match=r"rowkind\.field"):
        pypaimon.write(plain, [["-D", 1, "-D"]])

    path = pypaimon.create_table(
        tmp_path,
        "t",
        columns,
        primary_keys=["k"],
        options={"bucket": "1", "rowkind.field": "kind"},
    )
    pypaimon.write(path, [["+I", 1, "+I"], ["+I", 2, "+I"]])
    pypaimon.write(path, [["-D", 1, "-D"]])
    for name, peer in peers.items():
        assert peer.read(path)["rows"] == [[2, "+I"]], name


def test_a_changed_schema_is_read_by_all(peers: dict[str, Peer], tmp_path: Path) -> None:
    java = peers["java"]
    columns = {"k": "INT NOT NULL", "old": "INT", "gone": "STRING"}
    path = java.create_table(tmp_path, "t", columns, primary_keys=["k"], options={"bucket": "1"})
    java.insert(path, [[1, 10, "x"]])
    changes: list[dict[str, Any]] = [
        {"op": "drop", "name": "gone"},
        {"op": "rename", "from": "old", "to": "new"},
        {"op": "type", "name": "new", "type": "BIGINT"},
        {"op": "add", "name": "more", "type": "STRING"},
        {"op": "option", "key": "num-sorted-run.compaction-trigger", "value": "9"},
    ]
    assert java.alter(path, changes) == 1
    java.insert(path, [[2, 2**40, "y"]])
    for name, peer in peers.items():
        result = peer.read(path)
        assert result["columns"] == ["k", "new", "more"], name
        assert sorted(result["rows"], key=str) == [[1, 10, None], [2, 2**40, "y"]], name


def test_row_bytes_and_hashes_agree(peers: dict[str, Peer]) -> None:
    rng = random.Random(SEED)
    types = [text for text in VALUES if text != "DECIMAL(20, 4)"]
    rows = [[maybe(rng, text) for text in types] for _ in range(50)]
    # A null of a type with a part of its own is written differently; see the next test.
    wide = types.index("TIMESTAMP(6)")
    for row in rows:
        row[wide] = VALUES["TIMESTAMP(6)"](rng)
    written = {name: peer.binary_row(types, rows) for name, peer in peers.items()}
    for name, found in written.items():
        assert [row["hex"] for row in found] == [row["hex"] for row in written["java"]], name
        assert [row["hash"] for row in found] == [row["hash"] for row in written["java"]], name
    for name in ("java", "java09"):
        assert all(row["key_hex"] == row["hex"] for row in written[name])


@pytest.mark.parametrize("type_text", ["TIMESTAMP(6)", "DECIMAL(20, 4)"])
def test_a_null_of_a_wide_type_keeps_its_place_in_newer_rows(
    peers: dict[str, Peer], type_text: str
) -> None:
    written = {name: peer.binary_row([type_text], [[None]])[0] for name, peer in peers.items()}
    lengths = {name: len(bytes.fromhex(row["hex"])) for name, row in written.items()}
    place = 8 if type_text == "TIMESTAMP(6)" else 16
    assert lengths == {"java": 20 + place, "java09": 20, "pypaimon": 20}
    # Keys and partitions are written by generated code, which kept the place in both versions.
    assert written["java"]["key_hex"] == written["java09"]["key_hex"] == written["java"]["hex"]


def test_buckets_agree(peers: dict[str, Peer]) -> None:
    rng = random.Random(SEED)
    types = ["BIGINT", "VARCHAR(40)", "DATE"]
    rows: list[Row] = [[VALUES[text](rng) for text in types] for _ in range(200)]
    found = {name: peer.bucket(types, rows, 7) for name, peer in peers.items()}
    assert found["java"] == found["java09"] == found["pypaimon"]
    assert set(found["java"]) == set(range(7))


def some_runs(rng: random.Random) -> list[tuple[int, int]]:
    level0 = [(0, rng.randrange(1, 200)) for _ in range(rng.randrange(8))]
    upper = sorted(rng.sample(range(1, 6), rng.randrange(4)))
    return level0 + [(level, rng.randrange(1, 100 * 4**level)) for level in upper]


def test_the_java_versions_pick_the_same_runs(java: Peer, java09: Peer) -> None:
    rng = random.Random(SEED)
    picked = 0
    for _ in range(300):
        runs, trigger = some_runs(rng), rng.randrange(2, 7)
        newer = java.pick(runs, trigger=trigger)
        assert newer == java09.pick(runs, trigger=trigger), (runs, trigger)
        picked += newer is not None
    assert 0 < picked < 300


def test_forced_picks_weigh_level_one_in_the_newer_version(java: Peer, java09: Peer) -> None:
    # Level 1 must come along in both; only the newer one then compares level 2 with their sum.
    runs = [(0, 1), (1, 100), (2, 50), (5, 10**6)]
    older = java09.pick(runs, trigger=9, force_up_level0=True)
    newer = java.pick(runs, trigger=9, force_up_level0=True)
    assert older == {"output_level": 1, "count": 2}
    assert newer == {"output_level": 4, "count": 3}


def test_floats_arrive_as_python_writes_them(java: Peer, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    numbers = [2.0**e for e in range(-1074, 1024, 7)]
    numbers += [rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300) for _ in range(500)]
    texts = [repr(number) for number in numbers] + ["NaN", "Infinity", "-Infinity", "-0.0"]
    columns = {"k": "INT NOT NULL", "v": "DOUBLE"}
    path = java.create_table(tmp_path, "t", columns, primary_keys=["k"], options={"bucket": "1"})
    java.insert(path, list(enumerate(texts)))
    assert dict(java.read(path)["rows"]) == dict(enumerate(texts))  # type: ignore[arg-type]


def test_the_canonical_encoding_is_undone_by_decoding() -> None:
    rows = some_rows(random.Random(SEED), KEYS)
    assert encode_rows(TYPES, decode_rows(TYPES, rows)) == rows


@pytest.mark.parametrize("name", ["java", "java09", "pypaimon"])
def test_a_failed_operation_leaves_the_server_usable(
    peers: dict[str, Peer], tmp_path: Path, name: str
) -> None:
    peer = peers[name]
    with pytest.raises(PeerError):
        peer.read(tmp_path / "absent")
    with pytest.raises(PeerUnsupported):
        peer.call("no_such_operation")
    assert peer.version()["version"]
