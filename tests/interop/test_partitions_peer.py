"""Partitions beside Java's: the same ones expire, and what is left every peer reads and goes on.

Where releases of Java differ, `docs/operations.md` says what desilt does.
"""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support import peer_partitions, peer_refs
from support.builders import START_MILLIS, ManualClock, reopened, rows_of
from support.canonical import Json
from support.partition_model import FORMATS, draw
from support.peers import Peer, PeerError

from desilt.table.java_time import DEFAULT_FORMAT, TimeFormat
from desilt.table.metadata import MetadataReader
from desilt.table.partition_list import wall_text
from desilt.table.partition_time import PartitionOverride
from desilt.table.table import Table

# --- what a text means ----------------------------------------------------------------------------

PATTERNS = [
    "yyyyMMdd", "yyyy-MM-dd", "yyyyMMddHH", "yyyyMMdd HH", "yyyy-MM-dd HH:mm:ss", "yyyy/M/d",
    "yyMMdd", "uuuu-MM-dd", "y-M-d H:m:s", "dd/MM/yyyy", "yyyyMMddHHmmssSSS", "HHmmssyyyyMMdd",
    "yyyy-MM-dd'T'HH:mm[:ss]", "yyyyMMdd[HH[mm]]", "yyyy'年'MM'月'dd'日'", "'d'yyyyMMdd", "yyyy-MM",
    "yyyy-MM-dd HH:mm:ss.SSS", "yyyy-MM-dd HH:mm:ss[.SS]", "MMddyyyy", "HH:mm", "yyyyM", "Mdyyyy",
    "yyyy-MM-dd''HH", "yyyMMdd", "yyyyyMMdd", "yyyy-LL-dd", "yyyyMMdd HHSS", "yyyyMMdd ss",
]  # fmt: skip
CHARS = "0123456789-:/ .T+'d年"


def texts(rng: random.Random, pattern: str | None) -> list[str]:
    """Moments as the pattern has them, some spoiled, and noise."""
    found: list[str] = []
    for _ in range(150):
        moment = datetime(1, 1, 1) + timedelta(seconds=rng.randrange(0, 9998 * 365 * 86_400))  # noqa: DTZ001
        if rng.random() < 0.6:
            moment = moment.replace(year=rng.randrange(1990, 2040), day=rng.choice([1, 28, 15]))
        text = _written(rng, moment, pattern or "yyyy-MM-dd[ HH:mm:ss[.SSS]]")
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            at = rng.randrange(len(text) + 1)
            text = rng.choice(
                [
                    text[:at] + text[at + 1 :],
                    text[:at] + rng.choice(CHARS) + text[at + rng.randrange(2) :],
                ]
            )
        found.append(text)
    return found


def _written(rng: random.Random, moment: datetime, pattern: str) -> str:
    """By hand, with values beyond their range now and then."""
    numbers = {
        "y": moment.year, "u": moment.year, "M": moment.month, "L": moment.month, "d": moment.day,
        "H": moment.hour, "m": moment.minute, "s": moment.second, "S": rng.randrange(1000),
    }  # fmt: skip
    for field, beyond in (("d", 31), ("M", 13), ("H", 24), ("s", 60), ("m", 0), ("s", 0)):
        if rng.random() < 0.06:
            numbers[field] = beyond
    parts: list[str] = []
    at, quoted = 0, False
    while at < len(pattern):
        char = pattern[at]
        end = at
        while end < len(pattern) and pattern[end] == char:
            end += 1
        if pattern.startswith("''", at):
            parts.append("'")
            end = at + 2
        elif char == "'":
            quoted = not quoted
            end = at + 1
        elif char in numbers and not quoted:
            parts.append(str(numbers[char]).zfill(end - at)[-_width(char, end - at) :])
        elif char == "[" and rng.random() < 0.5:
            return "".join(parts)
        elif char not in "[]":
            parts.append(char * (end - at))
        at = end
    return "".join(parts)


def _width(letter: str, count: int) -> int:
    return 2 if letter in "yu" and count == 2 else max(count, 4)


@pytest.mark.parametrize("pattern", [None, *PATTERNS])
@pytest.mark.parametrize("version", ["java", "java09"])
def test_a_text_means_what_java_reads(
    request: pytest.FixtureRequest, version: str, pattern: str | None
) -> None:
    peer = request.getfixturevalue(version)
    rng = random.Random(f"{pattern}")
    given = texts(rng, pattern)
    ours = DEFAULT_FORMAT if pattern is None else TimeFormat.of(pattern, "formatter")

    theirs = peer_partitions.partition_times(peer, ["dt"], [[t] for t in given], formatter=pattern)

    found = [ours.moment(text) for text in given]
    assert [
        (text, mine, javas)
        for text, mine, javas in zip(given, found, theirs, strict=True)
        if mine != javas
    ] == []
    if pattern not in ("yyyy-MM", "HH:mm", "yyyyM", "Mdyyyy"):  # no dates
        assert sum(m is not None for m in found) > 5
    assert None in found


# --- which partitions go --------------------------------------------------------------------------

NOW = "2023-11-14T22:13:20"  # START_MILLIS in UTC


def twins(path: Path, folder: Path, clock: ManualClock) -> tuple[Table, Path]:
    """Two copies of a table: one for us, one for Java."""
    shutil.copytree(path, folder / "ours.db" / "t")
    shutil.copytree(path, folder / "javas.db" / "t")
    return reopened(str(folder / "ours.db" / "t"), clock=clock), folder / "javas.db" / "t"


def local_clock(millis: int = START_MILLIS) -> ManualClock:
    """A clock whose local wall clock shows this many milliseconds."""
    clock = ManualClock(millis)
    seconds = datetime.fromtimestamp(millis / 1000).astimezone().utcoffset()
    assert seconds is not None
    clock.millis -= int(seconds.total_seconds() * 1000)
    return clock


def labels(table: Table) -> list[str]:
    return [p.label for p in table.partitions()]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["keyed", "append", "vectors"])
def test_the_same_partitions_go_by_their_values(
    java: Peer, tmp_path: Path, name: str, kind: str
) -> None:
    rng = random.Random(f"{name} {kind}")
    drawn = draw(rng, name, datetime.fromisoformat(NOW))
    keys = list(drawn.writing.columns)
    keyed = kind != "append"
    path = java.create_table(
        tmp_path, "t", {**drawn.writing.columns, "k": "INT", "v": "STRING"}, partition_keys=keys,
        primary_keys=[*keys, "k"] if keyed else [],
        options={
            "bucket": "1" if keyed else "-1", **drawn.writing.options,
            "deletion-vectors.enabled": "true" if kind == "vectors" else "false",
            "partition.expiration-time": "5 d", "partition.expiration-check-interval": "0 s",
            "partition.expiration-max-num": "4", "partition.expiration-batch-size": "3",
        },
    )  # fmt: skip
    values = [v for v in drawn.partitions if not keyed or None not in v]
    for turn in range(2):
        rows: list[list[Json]] = [[*_json(v), n, f"v{turn}"] for v in values for n in range(3)]
        java.insert(path, rows)
    if kind == "vectors":
        java.compact(path)
        java.insert(path, [[*_json(v), 1, "again"] for v in values])
        java.compact(path, full=False)
    ours, javas = twins(path, tmp_path, local_clock())
    rounds = 0
    while True:
        result = ours.expire_partitions()
        gone = peer_partitions.expire_partitions(java, javas, NOW)

        assert [list(p.texts.values()) for p in result.dropped.partitions] == [
            list(g.values()) for g in gone
        ]
        assert len(result.dropped.snapshots) == (len(gone) + 2) // 3
        rounds += 1
        if not gone:
            break
    assert rounds > 1
    left = reopened(str(javas))
    assert labels(ours) == labels(left)
    assert _rows(java, ours.path) == _rows(java, javas)
    for mine, theirs in zip(
        java.snapshots(ours.path)[-2:], java.snapshots(javas)[-2:], strict=True
    ):
        assert mine["kind"] == theirs["kind"] == "OVERWRITE"
        assert mine["totalRecordCount"] == theirs["totalRecordCount"]
        assert mine["deltaRecordCount"] == theirs["deltaRecordCount"]
    assert len(peer_refs.index_entries(java, ours.path)) == len(
        peer_refs.index_entries(java, javas)
    )


def _json(values: tuple[object, ...]) -> list[Json]:
    return [v if v is None or isinstance(v, int) else str(v) for v in values]


def test_the_same_partitions_go_by_their_newest_file(java: Peer, tmp_path: Path) -> None:
    path = java.create_table(
        tmp_path, "t", {"p": "STRING", "k": "INT"}, partition_keys=["p"],
        options={
            "bucket": "-1", "partition.expiration-time": "1 h",
            "partition.expiration-strategy": "update-time",
            "partition.expiration-check-interval": "0 s",
        },
    )  # fmt: skip
    for name in ("a", "b", "c", None):
        java.insert(path, [[name, 1]])
    table = reopened(str(path))
    newest = {p.texts["p"]: p.newest_millis for p in table.partitions()}
    assert newest["b"] is not None
    for more in (0, 1):  # at the very millisecond, and one later
        folder = tmp_path / f"twins{more}"
        millis = newest["b"] + 3_600_000 + more
        ours, javas = twins(path, folder, local_clock(millis))
        result = ours.expire_partitions()
        gone = peer_partitions.expire_partitions(java, javas, wall_text(millis))

        mine = [p.texts["p"] or "__DEFAULT_PARTITION__" for p in result.dropped.partitions]
        assert mine == [g["p"] for g in gone]
        assert ("b" in mine) == bool(more)
        assert "a" in mine
        assert labels(ours) == labels(reopened(str(javas)))


# --- afterwards -----------------------------------------------------------------------------------


def test_peers_read_and_go_on_after_a_drop(java: Peer, pypaimon: Peer, tmp_path: Path) -> None:
    path = java.create_table(
        tmp_path, "t", {"p": "STRING", "h": "INT", "k": "INT", "v": "STRING"},
        partition_keys=["p", "h"], primary_keys=["p", "h", "k"], options={"bucket": "2"},
    )  # fmt: skip
    rows: list[list[Json]] = [[p, h, k, "v"] for p in "ab" for h in range(3) for k in range(9)]
    java.insert(path, rows)
    java.compact(path)
    table = reopened(str(path))

    result = table.drop_partitions([{"p": "a"}, {"h": "02"}])

    kept = sorted([r for r in rows if r[0] == "b" and r[1] != 2], key=repr)
    assert {p.label for p in result.partitions} == {"p=a/h=0", "p=a/h=1", "p=a/h=2", "p=b/h=2"}
    for peer in (java, pypaimon):
        assert sorted(peer.read(path)["rows"], key=repr) == kept
    last = java.snapshots(path)[-1]
    assert (last["kind"], last["totalRecordCount"], last["deltaRecordCount"]) == (
        "OVERWRITE",
        18,
        -36,
    )

    java.insert(path, [["a", 1, 5, "new"]])
    java.compact(path)
    assert sorted(java.read(path)["rows"], key=repr) == sorted(
        [*kept, ["a", 1, 5, "new"]], key=repr
    )
    assert len(rows_of(table)) == 19


def test_specs_mean_what_they_mean_to_java(java: Peer, tmp_path: Path) -> None:
    path = java.create_table(
        tmp_path, "t", {"p": "STRING", "n": "BIGINT", "d": "DATE", "k": "INT"},
        partition_keys=["p", "n", "d"], options={"bucket": "-1"},
    )  # fmt: skip
    days: list[Json] = ["2022-01-08", "2022-01-09", None]
    java.insert(path, [[p, n, d, 1] for p in ("a", None) for n in (-1, 7, None) for d in days])
    specs: list[dict[str, str]] = [
        {"p": "a", "n": "7"}, {"d": "2022-01-08", "n": "-1"},
        {"p": "__DEFAULT_PARTITION__", "n": "007"},
    ]  # fmt: skip
    for spec in specs:
        folder = tmp_path / f"{specs.index(spec)}"
        ours, javas = twins(path, folder, local_clock())
        before = labels(ours)
        ours.drop_partitions([spec])
        peer_partitions.drop_partitions(java, javas, [spec])

        assert labels(ours) == labels(reopened(str(javas)))
        assert len(labels(ours)) < len(before)


@pytest.mark.parametrize("target", ["8 mb", "6 kb"])
def test_every_snapshot_is_read_after_manifests_are_merged(
    java: Peer, pypaimon: Peer, tmp_path: Path, target: str
) -> None:
    path = java.create_table(
        tmp_path, "t", {"p": "STRING NOT NULL", "k": "INT NOT NULL", "v": "STRING"},
        partition_keys=["p"], primary_keys=["p", "k"],
        options={"bucket": "1", "manifest.target-file-size": target},
    )  # fmt: skip
    for turn in range(12):
        java.insert(path, [["ab"[turn % 2], k, f"{turn}"] for k in range(turn, turn + 5)])
        if turn % 4 == 3:
            java.compact(path)
    before = {s["id"]: _rows(java, path, s["id"]) for s in java.snapshots(path)}
    ours, javas = twins(path, tmp_path / "twins", local_clock())

    result = ours.compact_manifests()
    peer_partitions.compact_manifests(java, javas)

    assert result.snapshot_id == len(before) + 1
    assert result.manifests_before is not None
    assert result.manifests_after is not None
    assert result.manifests_after < result.manifests_before
    last, theirs = java.snapshots(ours.path)[-1], java.snapshots(javas)[-1]
    assert {**last, "timeMillis": 0, "commitUser": ""} == {
        **theirs, "timeMillis": 0, "commitUser": "",
    }  # fmt: skip
    assert _entries(ours.path) == _entries(str(javas))
    for snapshot, rows in before.items():
        for peer in (java, pypaimon):
            assert _rows(peer, ours.path, snapshot) == rows
    for peer in (java, pypaimon):
        assert _rows(peer, ours.path) == list(before.values())[-1]
    assert ours.compact_manifests().snapshot_id is None
    java.insert(ours.path, [["a", 100, "new"]])
    java.compact(ours.path)
    assert len(_rows(java, ours.path)) == len(list(before.values())[-1]) + 1


def _rows(peer: Peer, path: Path | str, snapshot: int | None = None) -> list[list[Json]]:
    return sorted(peer.read(path, snapshot=snapshot)["rows"], key=repr)


def _entries(path: str) -> list[tuple[int, str, int]]:
    """What all manifests of the latest snapshot say, in no order."""
    table = reopened(path)
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    reader = MetadataReader(table.handle)
    frames = [reader.slim(m.name) for m in reader.manifests(snapshot)]
    return sorted(row for f in frames for row in f.select("kind", "name", "level").iter_rows())


def test_overrides_stand_in_place_of_options(java: Peer, tmp_path: Path) -> None:
    path = java.create_table(
        tmp_path, "t", {"p": "STRING", "k": "INT"}, partition_keys=["p"], options={"bucket": "-1"}
    )
    java.insert(path, [["20231101", 1], ["20231114", 1], ["x", 1]])
    ours, javas = twins(path, tmp_path / "twins", local_clock())
    override = PartitionOverride(expire_millis=86_400_000, formatter="yyyyMMdd")

    plan = ours.plan_partition_expiry(override)
    result = ours.expire_partitions(override)
    gone = peer_partitions.expire_partitions(
        java, javas, NOW,
        {
            "partition.expiration-time": "1 d", "partition.timestamp-formatter": "yyyyMMdd",
            "partition.expiration-check-interval": "0 s",
        },
    )  # fmt: skip

    assert plan.timeless == ("p=x",)
    assert [p.texts for p in result.dropped.partitions] == gone == [{"p": "20231101"}]


@pytest.mark.parametrize(
    ("kind", "options", "gone"),
    [
        ("DATE", {}, []),  # Java's text of a date is a day number
        ("TIMESTAMP(3)", {}, []),  # and that of a timestamp has a T
        ("INT", {}, []),
        ("INT", {"partition.timestamp-formatter": "yyyyMMdd"}, [0]),
        ("BIGINT", {"partition.timestamp-pattern": "$p-01", "partition.timestamp-formatter":
            "yyyyMMdd-HH"}, [0]),
    ],
)  # fmt: skip
def test_columns_that_are_no_text(
    java: Peer, tmp_path: Path, kind: str, options: dict[str, str], gone: list[int]
) -> None:
    texts: dict[str, list[Json]] = {
        "DATE": ["2023-10-01", "2024-10-01"],
        "TIMESTAMP(3)": [{"ms": 1_696_118_400_000, "ns": 0}, {"ms": 1_727_740_800_000, "ns": 0}],
    }
    values = texts.get(kind, [20231001, 20241001])
    path = java.create_table(
        tmp_path, "t", {"p": kind, "k": "INT"}, partition_keys=["p"],
        options={
            "bucket": "-1", "partition.expiration-time": "1 d", **options,
            "partition.expiration-check-interval": "0 s",
        },
    )  # fmt: skip
    java.insert(path, [[v, 1] for v in values])
    ours, javas = twins(path, tmp_path / "twins", local_clock())
    before = labels(ours)

    result = ours.expire_partitions()
    theirs = peer_partitions.expire_partitions(java, javas, NOW)

    assert [p.label for p in result.dropped.partitions] == [before[i] for i in gone]
    assert [list(p.texts.values()) for p in result.dropped.partitions] == [
        list(g.values()) for g in theirs
    ]
    assert labels(ours) == labels(reopened(str(javas)))


@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        (
            "TIMESTAMP(3)", {"ms": 1_696_118_400_000, "ns": 0},
            {"partition.timestamp-formatter": "yyyy-MM-dd'T'HH:mm[:ss]"},
        ),
    ],
)  # fmt: skip
def test_java_cannot_drop_what_it_chose(
    java: Peer, tmp_path: Path, kind: str, value: Json, options: dict[str, str]
) -> None:
    """It reads the partition's values back from its own text, which says something else."""
    path = java.create_table(
        tmp_path, "t", {"p": kind, "k": "INT"}, partition_keys=["p"],
        options={
            "bucket": "-1", "partition.expiration-time": "1 d", **options,
            "partition.expiration-check-interval": "0 s",
        },
    )  # fmt: skip
    java.insert(path, [[value, 1]])
    newest = reopened(str(path)).partitions()[0].newest_millis
    assert newest is not None
    millis = newest + 10 * 86_400_000
    ours, javas = twins(path, tmp_path / "twins", local_clock(millis))
    with suppress(PeerError):
        peer_partitions.expire_partitions(java, javas, wall_text(millis))

    assert len(ours.expire_partitions().dropped.partitions) == 1
    assert labels(ours) == []
    assert len(labels(reopened(str(javas)))) == 1
