"""One daemon keeps one table of every kind, while all of them are written and followed.

The warehouse lives once, for all tests here (`support.live`); each of them looks at what is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.changelog_replay import Replay
from support.lake import CHANGELOGS, NAMES, PARKED, TELLING, Kept
from support.live import BROKEN, REFUSED, RETAIN_MAX, SPOILED, Played, play, snapshot_ids
from support.peer_streams import SnapshotChanges, changes, pack
from support.peers import Peer
from support.players import Desilt, OfPeer, Player
from support.reachable import changes_of, names_below, needed_by_all

from desilt.daemon.service import WORKER_BASE_BYTES

# What Java writes for a commit that loses a race stays; desilt's names have a part more.
LOST_BY_JAVA = re.compile(r"manifest(-list)?-[0-9a-f-]{36}-\d+")
every = pytest.mark.parametrize("name", NAMES)
every_changelog = pytest.mark.parametrize("name", CHANGELOGS)
every_telling = pytest.mark.parametrize("name", TELLING)


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, java: Peer, java_too: Peer, pypaimon: Peer
) -> Played:
    players: dict[str, Player] = {"pypaimon": OfPeer(pypaimon), "desilt": Desilt()}
    return play(tmp_path_factory.mktemp("live"), (java, java_too), players)


def rows(java: Peer, table: Kept) -> list[str]:
    return table.alike(java.read(table.path)["rows"])


def test_no_writer_met_an_error_and_the_daemon_ends_well(played: Played) -> None:
    assert played.writer_errors == []
    assert played.exit_code == 0
    assert played.daemon.lines("tick.failed") == []


def test_memory_stays_bounded(played: Played) -> None:
    """Two workers with 128 MiB each for tasks, and a daemon that knows all tables."""
    print(f"seconds {played.seconds}, most memory {played.rss_bytes_max}")

    assert 0 < played.rss_bytes_max["worker"] < WORKER_BASE_BYTES + 2 * 128 * 2**20
    assert 0 < played.rss_bytes_max["daemon"] < 512 * 2**20


@every
def test_java_reads_what_was_written(played: Played, java: Peer, name: str) -> None:
    table = played.tables[name]

    assert rows(java, table) == table.expected


@every
def test_desilt_compacted_it(played: Played, name: str) -> None:
    done = [
        line["outcome"]
        for line in played.daemon.lines("task.finished")
        if line["table"] == f"default.{name}"
    ]

    assert "committed" in done
    assert set(done) <= {"committed", "conflicted", "nothing"}


@every
def test_snapshots_are_within_the_retention(played: Played, name: str) -> None:
    kept = snapshot_ids(played.tables[name])

    if name in PARKED:
        assert kept[0] == 1
    else:
        assert kept[0] > 1
        assert 2 <= len(kept) <= RETAIN_MAX
    assert kept == list(range(kept[0], kept[-1] + 1))


@every
def test_no_file_is_left_that_nothing_needs(played: Played, name: str) -> None:
    table = played.tables[name]
    snapshots = [table.path / "snapshot" / f"snapshot-{i}" for i in snapshot_ids(table)]
    needed = needed_by_all(table.path, map(str, snapshots))
    needed |= {file for one in snapshots for file in changes_of(table.path, one)}

    there = names_below(table.path)

    left = {file for file in there - needed if not LOST_BY_JAVA.fullmatch(file)}
    assert left == set()
    assert needed - there == set()


@every_changelog
def test_followers_were_told_the_table(played: Played, java: Peer, name: str) -> None:
    """From its first change on, though snapshots expired behind them all the while."""
    table = played.tables[name]

    assert replayed(table, played.told[name]) == shown(table, java)


@every_changelog
def test_java_streams_the_table(played: Played, java: Peer, name: str) -> None:
    """All of it where everything is kept; else the oldest snapshot that is, and what came then."""
    table = played.tables[name]
    first = snapshot_ids(table)[0]
    options = {} if name in PARKED else {"scan.mode": "from-snapshot-full"}

    told = changes(java, table.path, first=first, options=options)
    if name not in PARKED:
        # Files that are read as they are keep the kinds that they were written with.
        told[0]["rows"] = [["+I", *row[1:]] for row in told[0]["rows"]]

    assert replayed(table, told) == shown(table, java)


@every_telling
def test_java_and_desilt_tell_the_same_changes(played: Played, java: Peer, name: str) -> None:
    table = played.tables[name]
    first = snapshot_ids(table)[0]

    told = changes(java, table.path, first=first)
    ours = Desilt().changes(table.shape, table.path, first)

    assert by_snapshot(table, ours) == by_snapshot(table, told)


def replayed(table: Kept, told: Sequence[SnapshotChanges]) -> list[str]:
    assert table.rules is not None
    replay = Replay(table.rules)
    replay.take(told)
    return replay.left


def shown(table: Kept, java: Peer) -> list[str]:
    assert table.rules is not None
    return Replay(table.rules).shown(java.read(table.path)["rows"])


def by_snapshot(table: Kept, told: Sequence[SnapshotChanges]) -> dict[int, list[str]]:
    """What each snapshot told, key after key; buckets come in any order."""
    assert table.rules is not None
    comparable = table.rules.comparable
    keys = [1 + table.shape.names.index(name) for name in table.shape.primary_keys]
    return {
        one["snapshot"]: [
            json.dumps([row[0], *comparable(row[1:])])
            for row in sorted(one["rows"], key=lambda row: json.dumps([row[i] for i in keys]))
        ]
        for one in told
    }


def test_a_broken_table_is_halted_and_said_to_be(played: Played) -> None:
    (line,) = played.daemon.lines("table.halted")

    assert line["table"] == BROKEN
    assert "CorruptTable: file is not readable Avro" in line["error"]
    assert sample(played, "desilt_halted_tables") == 1


def test_bad_data_quarantines_its_bucket_alone(played: Played) -> None:
    (line,) = played.daemon.lines("bucket.quarantined")
    done = [
        (one["partition"], one["outcome"])
        for one in played.daemon.lines("task.finished")
        if one["table"] == SPOILED
    ]

    assert (line["table"], line["partition"]) == (SPOILED, "p=1")
    assert sorted(done) == [("p=0", "committed"), ("p=1", "failed")]
    assert sample(played, "desilt_quarantined_buckets") == 1


def test_a_refused_table_is_skipped_by_name(played: Played) -> None:
    (line,) = played.daemon.lines("table.skipped")

    assert line["table"] == REFUSED
    assert "dynamic buckets are not supported" in line["error"]
    assert sample(played, "desilt_skipped_tables_total") == 1


def test_metrics_say_what_was_done(played: Played) -> None:
    for name in NAMES:
        labels = {"table": f"default.{name}"}
        done = {**labels, "action": "compact", "outcome": "committed"}
        assert sample(played, "desilt_tasks_total", **done) > 0, name
        assert sample(played, "desilt_rewritten_bytes_total", direction="read", **labels) > 0, name
        expired = sample(played, "desilt_expired_snapshots_total", **labels)
        assert (expired == 0) == (name in PARKED), name
        kept = len(snapshot_ids(played.tables[name]))
        assert sample(played, "desilt_snapshots", **labels) == kept, name
    assert sample(played, "desilt_backlog_tasks") == 0
    assert sample(played, "desilt_tables") == len(NAMES) + 2  # one is broken, one is spoiled
    assert sample(played, "desilt_verification_failures_total") == 0
    assert sample(played, "desilt_failures_total") == sample(
        played, "desilt_failures_total", subject="table"
    )


def sample(played: Played, name: str, **labels: str) -> float:
    """The metric's sum over labels that are not given, when the daemon was asked last."""
    values = [
        one.value
        for family in text_string_to_metric_families(played.metrics["text"])
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    ]
    assert values, f"{name} {labels}"
    return sum(values)


@every
def test_java_goes_on(played: Played, java: Peer, name: str) -> None:
    """The last test of each table: Java writes and compacts what is left."""
    table = played.tables[name]
    table.step(OfPeer(java))
    if table.shape.keyed:
        java.compact(table.path, full=True)
    elif table.shape.options["bucket"] == "-1":
        pack(java, table.path)
    else:
        java.compact(table.path, full=False)  # fully, it gives up where a vector is left

    assert rows(java, table) == table.expected
