"""Latency is hidden: what reads many files of a store asks for as many at a time as it allows.

A proxy holds back what there is much of and counts how many wait. No time is asserted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.builders import keyed_table, upserts
from support.in_flight import kept_in_flight
from support.proxy import HttpProxy
from support.proxy_faults import Delay, Match
from support.s3_stores import impatient, uploaded
from support.servers import Rgw

from desilt.table.catalog import Catalog
from desilt.table.compact import RewriteOptions, rewrite
from desilt.table.decision import PlanOptions
from desilt.table.observe import TableObserver
from desilt.table.orphans.clean import plan_orphans
from desilt.table.storage import StoreOptions
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

COMMITS = 130
AT_A_TIME = 64
ROWS = 20
UNMERGED = {"manifest.merge-min-count": "1000"}
# So long that as many requests as may be made are made meanwhile, also by a busy machine.
HELD_SECONDS = 0.8
MANY = Match(method="GET", path=r"/manifest/|/bucket-0/|/snapshot/snapshot-")
MANIFESTS = Match(method="GET", path=r"/manifest/manifest-(?!list)")
DATA_FILES = Match(method="GET", path=r"/bucket-0/")


@dataclass(frozen=True, slots=True)
class Slow:
    """A table of many manifests and files, behind a proxy that holds requests for them back."""

    table: Table
    proxy: HttpProxy


@pytest.fixture(scope="module")
def filled(
    s3_server: Rgw, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, StoreOptions]]:
    bucket = s3_server.fresh_bucket("latency")
    table = keyed_table(tmp_path_factory.mktemp("many"), options={**UNMERGED, "bucket": "1"})
    for number in range(COMMITS):
        table.write(upserts(ROWS, f"{number}", start=number * 10))
    options = impatient(s3_server)
    uploaded(table, S3Storage(bucket, options), f"s3://{bucket}/wh/db.db/t")
    yield bucket, options
    s3_server.empty_bucket(bucket)


@pytest.fixture
def slow(filled: tuple[str, StoreOptions], tmp_path: Path) -> Iterator[Slow]:
    bucket, options = filled
    with HttpProxy(str(options.endpoint)) as proxy:
        through = replace(
            options, endpoint=proxy.endpoint, scratch=str(tmp_path / "scratch"), read_seconds=60
        )
        proxy.on(MANY, Delay(HELD_SECONDS), times=None)
        yield Slow(Catalog(f"s3://{bucket}/wh", store=through).table("db.t"), proxy)


def most_at_a_time(slow: Slow) -> int:
    """Requests that waited for their answer together."""
    return slow.proxy.max_in_flight


def kept(slow: Slow, match: Match) -> float:
    """Requests that waited together for half of the time in which the files were asked for."""
    seen = sorted(slow.proxy.seen(match), key=lambda one: one.begun)
    assert len(seen) >= COMMITS
    return kept_in_flight(seen[:COMMITS])


def test_manifests_are_read_side_by_side(slow: Slow) -> None:
    observer = TableObserver(slow.table.handle)
    assert observer.refresh()

    assert len(observer.buckets()) == 1
    assert most_at_a_time(slow) >= AT_A_TIME
    assert kept(slow, MANIFESTS) >= AT_A_TIME


def test_scans_open_files_side_by_side(slow: Slow) -> None:
    assert slow.table.scan().collect().height == COMMITS * 10 + ROWS - 10
    assert most_at_a_time(slow) >= AT_A_TIME


def test_orphans_are_looked_for_side_by_side(slow: Slow) -> None:
    assert plan_orphans(slow.table.handle).files.is_empty()
    assert most_at_a_time(slow) >= AT_A_TIME


def test_compactions_open_files_side_by_side(slow: Slow, filled: tuple[str, StoreOptions]) -> None:
    """Of the rewrite alone; the plan is made without the proxy."""
    observer = TableObserver(Catalog(f"s3://{filled[0]}/wh", store=filled[1]).table("db.t").handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), PlanOptions(mode="full"))
    assert plan is not None
    result = rewrite(plan, RewriteOptions(), slow.table.handle)

    assert (plan.input_files, len(result.outputs)) == (COMMITS, 1)
    assert result.rows_out == COMMITS * 10 + ROWS - 10
    assert most_at_a_time(slow) >= AT_A_TIME
    assert kept(slow, DATA_FILES) >= AT_A_TIME
