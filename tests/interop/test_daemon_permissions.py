"""The daemon's whole life on an object store, with no more rights than the handbook names.

The user owns nothing at first, and all of its requests go through a proxy that sees what the store
answers. Then one right after the other is taken away from the running daemon.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import CollectorRegistry
from support.builders import rows_of
from support.daemon_fakes import START, World
from support.iam import Policy, actions_of, documented, policy_for, without
from support.proxy import HttpProxy
from support.proxy_faults import Match
from support.rgw import ADMIN
from support.s3_stores import impatient, uploaded
from support.servers import Rgw, S3User

from desilt.daemon.chores import OrphanChore, PartitionChore, TagChore
from desilt.daemon.config import LogsConfig
from desilt.daemon.config_catalog import CatalogConfig, S3Config
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.journal import Journal
from desilt.daemon.listen import (
    BucketQuarantined,
    Event,
    ExpiryFinished,
    TableFound,
    TableHalted,
    TaskFinished,
    UpkeepFinished,
)
from desilt.daemon.logs import LogListener, make_logger
from desilt.daemon.metrics import FAILURES, MetricsListener
from desilt.daemon.schedule import Every
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.daemon.task import Outcome
from desilt.daemon.units import Duration
from desilt.table.catalog import Catalog, open_table
from desilt.table.expire import Override
from desilt.table.orphans.clean import OrphanSettings
from desilt.table.partition_time import PartitionOverride
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

HOURLY = Every(Duration(3600))
DAY_MILLIS = 86_400_000
CHORES = (
    TagChore(HOURLY, (("tag.automatic-creation", "process-time"),)),
    PartitionChore(HOURLY, PartitionOverride(expire_millis=DAY_MILLIS, formatter="yyyy-MM-dd")),
    # Younger than a configuration allows: nothing in this store is an hour old.
    OrphanChore(HOURLY, OrphanSettings(1, forced=True)),
)
DENIED = "reason=access is denied"
ORPHAN = "manifest/manifest-of-a-dead-writer"
OLD, NEW = "2020-01-01", "2099-01-01"
OPTIONS = {
    "bucket": "1",
    "changelog-producer": "input",
    "changelog.num-retained.min": "3",
    "changelog.num-retained.max": "3",
    "manifest.merge-min-count": "3",
    "num-sorted-run.compaction-trigger": "2",
}
LARGE_ROWS, LARGE_BYTES = 40, 60_000
"""Five commits of them are more than one part of an upload, in a form that does not shrink."""


@dataclass(frozen=True, slots=True)
class Life:
    """A daemon as the limited user, what it says, and the tables by somebody who may all."""

    world: World
    proxy: HttpProxy
    log: io.StringIO
    registry: CollectorRegistry
    allow: Callable[[Policy], None]
    warehouse: str
    owner: S3Storage
    store: S3Storage
    """As the limited user, not through the proxy."""

    def given(self, table: Table) -> Table:
        """A table of the local disk, in the warehouse as somebody else's."""
        path = uploaded(table, self.owner, f"{self.warehouse}/db.db/{table.name.split('.')[1]}")
        return open_table(path, storage=self.owner)

    def go_on(self, ticks: int = 3) -> list[Event]:
        """So many ticks, each a day after the one before; what was said."""
        before = len(self.world.said.events)
        for _ in range(ticks):
            self.world.clock.advance(86_400)
            self.world.tick()
        return self.world.said.events[before:]

    def failures(self) -> float:
        found = (
            self.registry.get_sample_value("desilt_failures_total", {"subject": subject})
            for subject in FAILURES
        )
        return sum(value or 0.0 for value in found)


def errors(said: list[Event]) -> list[tuple[str, str]]:
    """(Event, error) of all that failed."""
    found = [
        (e.name, str(e.finished.error) if isinstance(e, TaskFinished) else getattr(e, "error", ""))
        for e in said
    ]
    return [(name, error) for name, error in found if error not in ("", "None")]


def parts_rows(version: int, days: tuple[str, ...] = (OLD, NEW)) -> pl.DataFrame:
    frame = {"k": [1] * len(days), "dt": list(days), "v": [version] * len(days)}
    return pl.DataFrame(frame, schema={"k": pl.Int32, "dt": pl.String, "v": pl.Int32})


def large_rows(seed: int) -> pl.DataFrame:
    """Other keys for each seed."""
    print(f"{seed=}")
    chance = random.Random(seed)
    keys = range(seed * LARGE_ROWS, (seed + 1) * LARGE_ROWS)
    values = [chance.randbytes(LARGE_BYTES) for _ in keys]
    return pl.DataFrame({"k": keys, "v": values}, schema_overrides={"k": pl.Int32})


def parts_table(folder: Path, versions: int) -> Table:
    made = Catalog(str(folder)).create_table(
        "db.parts",
        {"k": "INT NOT NULL", "dt": "STRING NOT NULL", "v": "INT"},
        primary_key=("k", "dt"),
        partition_by=("dt",),
        options=OPTIONS,
    )
    for version in range(versions):
        made.write(parts_rows(version))
    return made


def large_table(folder: Path) -> Table:
    made = Catalog(str(folder)).create_table(
        "db.large", {"k": "INT NOT NULL", "v": "BYTES"}, primary_key=("k",), options={"bucket": "1"}
    )
    for seed in range(5):
        made.write(large_rows(seed))
    return made


@pytest.fixture
def user(s3_server: Rgw, bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3User:
    """Whom the daemon and its workers find in their environment."""
    made = s3_server.make_user(f"daemon-{bucket}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made.secret_key)
    return made


def _may_read_what_others_write(server: Rgw, bucket: str) -> None:
    """Lets the owner of the bucket do so; an object is its writer's alone here."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam:::user/{ADMIN}"]},
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


@pytest.fixture
def life(s3_server: Rgw, bucket: str, user: S3User, tmp_path: Path) -> Iterator[Life]:
    warehouse, owner = f"s3://{bucket}/lake", S3Storage(bucket, impatient(s3_server))
    _may_read_what_others_write(s3_server, bucket)
    log, registry = io.StringIO(), CollectorRegistry()
    supervisor = Supervisor(SupervisorOptions(workers=1, threads=1, rss_bytes_max=2**31))
    with HttpProxy(s3_server.endpoint) as proxy, closing(Journal(tmp_path / "state.db")) as journal:
        s3 = S3Config(endpoint=proxy.endpoint, region=s3_server.region, attempts=2)
        supervisor.start()
        world = World(
            journal,
            catalogs=(CatalogConfig(name="lake", warehouse=warehouse, s3=s3),),
            engine=TableEngine(Rewriter(supervisor, "full")),
            listeners=(
                LogListener(make_logger(LogsConfig(level="debug"), log)),
                MetricsListener(registry),
            ),
            snapshots=Override(retain_min=1, retain_max=1, retain_millis=1),
            chores=CHORES,
        )
        world.clock.advance((datetime.now(UTC) - START).total_seconds())

        store = S3Storage(bucket, impatient(s3_server, user=user))

        def allow(policy: Policy) -> None:
            s3_server.put_user_policy(user, "desilt", policy_for(policy, bucket))

        yield Life(world, proxy, log, registry, allow, warehouse, owner, store)
        supervisor.stop()


def test_the_daemon_does_all_of_its_work_with_the_documented_rights(
    life: Life, tmp_path: Path
) -> None:
    made = parts_table(tmp_path, 6)
    made.create_tag("short", snapshot_id=2, retained=timedelta(milliseconds=1))
    parts, large = life.given(made), life.given(large_table(tmp_path))
    life.owner.overwrite(f"{parts.path}/{ORPHAN}", b"x")
    life.allow(documented()[0])

    said = life.go_on()

    assert [e for e in said if e.level in ("warning", "error")] == []
    assert life.failures() == 0
    assert "denied" not in life.log.getvalue().lower()
    assert 403 not in {seen.status for seen in life.proxy.seen()}
    assert len([e for e in said if isinstance(e, TableFound)]) == 2
    tasks = [e.finished for e in said if isinstance(e, TaskFinished)]
    assert {t.outcome for t in tasks} <= {Outcome.COMMITTED, Outcome.NOTHING}
    compacted = {(t.task.key.table, t.task.key.partition) for t in tasks if t.snapshot_id}
    assert compacted == {("db.parts", f"dt={OLD}"), ("db.parts", f"dt={NEW}"), ("db.large", "")}
    expiries = [e for e in said if isinstance(e, ExpiryFinished)]
    assert sum(e.snapshots for e in expiries) > 0
    assert sum(e.changelogs for e in expiries) > 0
    done = {
        action: [e for e in said if isinstance(e, UpkeepFinished) and e.action == action]
        for action in ("tags", "partitions", "orphans")
    }
    assert sum(e.made for e in done["tags"]) == 2, "an automatic one of each table"
    assert sum(e.dropped for e in done["tags"]) == 1
    assert sum(e.dropped for e in done["partitions"]) == 1
    assert sum(e.files for e in done["orphans"]) > 0
    assert not life.owner.exists(f"{parts.path}/{ORPHAN}")
    assert rows_of(parts) == [(1, NEW, 5)]
    assert rows_of(large) == sorted(pl.concat(map(large_rows, range(5))).rows(), key=repr)

    kinds = set(life.proxy.counts())
    assert kinds == {
        "GET", "HEAD", "PUT", "LIST", "DELETE", "DELETE_MANY",
        "UPLOAD_CREATE", "UPLOAD_PART", "UPLOAD_COMPLETE",
    }  # fmt: skip
    probes = life.proxy.seen(Match(kind="PUT", path=r"/\.desilt-probe-"))
    assert sorted(seen.status for seen in probes) == [200, 412] * (len(probes) // 2)
    assert probes


REFUSED = {
    "s3:GetObject": {"table.failed"},
    "s3:PutObject": {"task.finished", "expiry.failed"},
    "s3:DeleteObject": {"expiry.failed", "upkeep.failed"},
    "s3:ListBucket": {"catalog.failed", "table.failed"},
}
"""What fails of a running daemon that loses a right. That of aborting uploads: see the tests of
single operations."""


def test_a_right_that_is_taken_away_is_missed_by_name_and_nothing_is_lost(
    life: Life, tmp_path: Path
) -> None:
    everything = documented()[0]
    assert {*REFUSED, "s3:AbortMultipartUpload"} == set(actions_of(everything))
    parts = life.given(parts_table(tmp_path, 2))
    life.allow(everything)
    life.go_on(2)
    for version, (action, names) in enumerate(REFUSED.items()):
        life.allow(without(everything, action))
        parts.write(parts_rows(version, (NEW,)))
        life.owner.overwrite(f"{parts.path}/{ORPHAN}", b"x")
        refused = {name for name, error in errors(life.go_on(1)) if DENIED in error}
        assert refused == names, action

        life.allow(everything)
        said = life.go_on(1)
        # A task that could not write is looked up before the rest of an expiry is done.
        assert {name for name, _ in errors(said)} <= {"sweep.failed"}, action
        assert [e for e in said if isinstance(e, ExpiryFinished) and e.snapshots]
        assert rows_of(open_table(parts.path, storage=life.store)) == [(1, NEW, version)]
    done = [e.finished for e in life.world.said.of(TaskFinished) if isinstance(e, TaskFinished)]
    assert len([f for f in done if f.outcome is Outcome.COMMITTED]) == len(REFUSED) + 2
    assert life.world.said.of(TableHalted, BucketQuarantined) == []
