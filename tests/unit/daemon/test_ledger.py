"""What is remembered about failures, and for how long it stands in the way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.daemon_fakes import START

from desilt.daemon.ledger import (
    BACKOFF_SECONDS_MAX,
    SKIP_SECONDS,
    Hold,
    Ledger,
    backoff_seconds,
)
from desilt.policies.admit import BucketKey

KEY = BucketKey("db.t", "", 0)
OTHER = BucketKey("db.t", "", 1)


def later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (10**6, 600)]
)
def test_backoff_doubles_up_to_its_limit(attempts: int, seconds: float) -> None:
    assert backoff_seconds(attempts) == seconds <= BACKOFF_SECONDS_MAX


def test_pause_ends_by_itself() -> None:
    ledger = Ledger().paused(KEY, "no disk", START)

    assert not ledger.bucket_open(KEY, START + later(0.9))
    assert ledger.bucket_open(KEY, START + later(1))
    assert ledger.bucket_open(OTHER, START)


def test_pauses_grow_with_failures_in_a_row() -> None:
    ledger = Ledger().paused(KEY, "no disk", START).paused(KEY, "no disk", START)

    assert ledger.attempts(KEY) == 2
    assert not ledger.bucket_open(KEY, START + later(1.9))


def test_success_ends_the_row() -> None:
    ledger = Ledger().paused(KEY, "no disk", START).succeeded(KEY)

    assert ledger == Ledger()


def test_paused_table_pauses_its_buckets() -> None:
    ledger = Ledger().paused("db.t", "no disk", START)

    assert not ledger.bucket_open(KEY, START)
    assert ledger.bucket_open(BucketKey("db.u", "", 0), START)


def test_skipped_table_is_looked_at_again_later() -> None:
    ledger = Ledger().skip("db.t", "merge engine", START)

    assert not ledger.table_open("db.t", START + later(SKIP_SECONDS - 1))
    assert ledger.table_open("db.t", START + later(SKIP_SECONDS))
    assert ledger.succeeded("db.t") == Ledger()


def test_holds_do_not_end_by_themselves() -> None:
    ledger = Ledger().quarantine(KEY, "unknown kind", START).halt("db.u", "cut off", START)
    far = START + timedelta(days=400)

    assert not ledger.bucket_open(KEY, far)
    assert ledger.bucket_open(OTHER, far)
    assert not ledger.table_open("db.u", far)


def test_lifted_hold_takes_its_failures_along() -> None:
    ledger = Ledger().paused(KEY, "died", START).quarantine(KEY, "died", START)
    ledger = ledger.paused(OTHER, "no disk", START)

    lifted = ledger.with_holds({}, {})

    assert lifted.bucket_open(KEY, START)
    assert lifted.attempts(OTHER) == 1


def test_holds_of_the_journal_are_taken_over() -> None:
    ledger = Ledger().with_holds({"db.u": Hold("cut off", START)}, {KEY: Hold("bad", START)})

    assert not ledger.table_open("db.u", START)
    assert not ledger.bucket_open(KEY, START)


def test_forgotten_table_takes_everything_along() -> None:
    ledger = Ledger().paused(KEY, "no disk", START).quarantine(OTHER, "bad", START)
    ledger = ledger.skip("db.t", "x", START).halt("db.t", "x", START).paused("db.t", "x", START)

    assert ledger.forget("db.t") == Ledger()


def test_methods_leave_the_old_ledger_alone() -> None:
    before = Ledger()
    before.paused(KEY, "no disk", START).quarantine(KEY, "bad", START)

    assert before == Ledger()
