"""The journal: what it keeps, whom it lets in, and what it says when it cannot."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.daemon_fakes import START, a_task

from desilt.daemon import journal as module
from desilt.daemon.errors import JournalError
from desilt.daemon.journal import Journal, OpenTask, Spend
from desilt.daemon.ledger import Hold
from desilt.policies.admit import BucketKey

KEY = BucketKey("db.t", "dt=a", 3)


def test_opened_task_is_open_until_closed(journal: Journal) -> None:
    journal.open_task(a_task("t-1", key=KEY))
    assert journal.open_tasks() == (OpenTask("t-1", "db.t", "/wh/db.t", "dt=a", 3, START),)

    journal.close_task("t-1", "committed", START, {"snapshot_id": 7})

    assert journal.open_tasks() == ()
    (closed,) = journal.closed_tasks(9)
    assert (closed.key, closed.outcome, closed.detail) == (KEY, "committed", {"snapshot_id": 7})


def test_open_task_survives_a_crash(tmp_path: Path) -> None:
    crashed = Journal(tmp_path / "state.db")
    crashed.open_task(a_task("t-1"))
    crashed._unlock()  # pyright: ignore[reportPrivateUsage]  the process dies: only locks go

    again = Journal(tmp_path / "state.db")

    assert [task.task_id for task in again.open_tasks()] == ["t-1"]
    again.close()
    crashed.close()


def test_file_prefix_is_kept_for_a_person_who_looks(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state.db")
    journal.open_task(a_task("t-1"))
    journal.close()

    with sqlite3.connect(tmp_path / "state.db") as db:
        rows = db.execute("SELECT file_prefix FROM tasks").fetchall()
    db.close()

    assert rows == [("data-t-1-",)]


def test_closed_tasks_are_kept_up_to_a_limit(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSED_TASKS_MAX", 2)
    journal.open_task(a_task("open"))
    for number in range(4):
        journal.open_task(a_task(f"t-{number}"))
        journal.close_task(f"t-{number}", "committed", START.replace(minute=number), {})

    assert [task.task_id for task in journal.closed_tasks(9)] == ["t-3", "t-2"]
    assert [task.task_id for task in journal.open_tasks()] == ["open"]


def test_holds_are_kept_and_lifted_by_table(journal: Journal) -> None:
    journal.hold("db.a", None, Hold("cut off", START))
    journal.hold("db.t", KEY, Hold("unknown kind", START))
    journal.hold("db.t", KEY, Hold("unknown kind again", START))

    assert journal.holds().halted == {"db.a": Hold("cut off", START)}
    assert journal.holds().quarantined == {KEY: Hold("unknown kind again", START)}
    assert journal.lift("db.t") == 1
    assert journal.holds().quarantined == {}
    assert journal.lift() == 1
    assert journal.holds().halted == {}


def test_counters_come_back_as_saved(journal: Journal) -> None:
    journal.save_spend("/wh/db.t", Spend(7, {"dt=a|0": [10, 20]}))
    journal.save_spend("/wh/db.t", Spend(8, {"dt=a|0": [11, 20]}))

    assert journal.spend("/wh/db.t") == Spend(8, {"dt=a|0": [11, 20]})
    journal.forget("/wh/db.t")
    assert journal.spend("/wh/db.t") is None


def test_second_daemon_is_refused_by_name(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"in use by another daemon, path=.*state\.db"):
        Journal(tmp_path / "state.db")


def test_lifting_holds_opens_rejected_tasks_again_so_that_their_evidence_is_swept(
    journal: Journal,
) -> None:
    for name, outcome in (("rejected", "rejected"), ("done", "committed")):
        journal.open_task(a_task(name))
        journal.close_task(name, outcome, START, {})
    journal.lift("db.other")
    assert journal.open_tasks() == ()

    journal.lift("db.t")

    assert [task.task_id for task in journal.open_tasks()] == ["rejected"]


def test_command_may_lift_holds_beside_the_daemon(journal: Journal, tmp_path: Path) -> None:
    journal.hold("db.a", None, Hold("cut off", START))
    beside = Journal(tmp_path / "state.db", exclusive=False)

    assert beside.lift() == 1
    beside.close()

    assert journal.holds().halted == {}


def test_corrupt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)

    with pytest.raises(JournalError, match=r"state is corrupt.*path=.*state\.db"):
        Journal(path)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot be written, path=.*No such file"):
        Journal(tmp_path / "nowhere" / "state.db")


def test_database_locked_by_another_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    journal = Journal(tmp_path / "state.db")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(JournalError, match="locked by another process"):
        journal.open_task(a_task())

    other.execute("ROLLBACK")
    journal.open_task(a_task())
    other.close()
    journal.close()


def test_state_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(JournalError, match=r"another version of desilt.*version=99"):
        Journal(tmp_path / "state.db")


def test_nonsense_in_a_column_is_named(journal: Journal, tmp_path: Path) -> None:
    journal.open_task(a_task())
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("UPDATE tasks SET started = 'yesterday'")
    db.close()

    with pytest.raises(JournalError, match="a time was expected, value='yesterday'"):
        journal.open_tasks()
