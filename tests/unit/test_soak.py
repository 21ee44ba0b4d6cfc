"""`make soak`: what it plays, what it prints, how it ends; the plays themselves are doubles."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import soak
from bench.soak import Plays, Soak, Tally, chosen, summary
from support.matrix import ROWS
from support.plays import PLAYS, Peers, ways_of

PEERS: Peers = {}


class Table:
    """Plays that take ten seconds each and remember their seeds; ``bad`` fails."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.played: list[tuple[str, int]] = []
        self.said: list[str] = []
        self.plays: Plays = {name: self._play(name) for name in ("a/x", "a/y", "bad/x")}

    def _play(self, name: str) -> Callable[[int, Peers, Path], None]:
        def play(seed: int, peers: Peers, folder: Path) -> None:
            assert f"{name} seed {seed}" in self.said[-1], "said before it begins"
            assert list(folder.iterdir()) == []
            self.seconds += 10
            self.played.append((name, seed))
            (folder / "table").write_text(name)
            if name == "bad/x":
                pytest.fail("rows differ")

        return play

    def soak(self, home: Path) -> Soak:
        return Soak(self.plays, PEERS, home, clock=lambda: self.seconds, say=self.said.append)


def good_play(seed: int, peers: Peers, folder: Path) -> None:
    assert folder.is_dir()


def bad_play(seed: int, peers: Peers, folder: Path) -> None:
    pytest.fail("rows differ")


@pytest.fixture
def table() -> Table:
    return Table()


def test_every_play_has_its_turn_with_fresh_seeds_until_the_time_is_over(
    table: Table, tmp_path: Path
) -> None:
    table.soak(tmp_path).run(85, random.Random(1))

    names = [name for name, _ in table.played]
    assert len(names) == 9  # the ninth begins at 80 seconds
    assert all(sorted(names[i : i + 3]) == sorted(table.plays) for i in (0, 3, 6))
    assert len({seed for _, seed in table.played}) == 9


def test_without_time_nothing_is_played(table: Table, tmp_path: Path) -> None:
    table.soak(tmp_path).run(0, random.Random(1))

    assert table.played == []


def test_other_generators_draw_other_seeds(table: Table, tmp_path: Path) -> None:
    table.soak(tmp_path / "one").run(30, random.Random(1))
    table.soak(tmp_path / "two").run(30, random.Random(2))

    first, second = table.played[:3], table.played[3:]
    assert {seed for _, seed in first}.isdisjoint(seed for _, seed in second)


def test_a_failure_is_kept_and_told_and_the_rest_goes_on(table: Table, tmp_path: Path) -> None:
    played = table.soak(tmp_path)
    played.play("bad/x", 7, "now")
    played.play("a/x", 8, "now")

    folder = tmp_path / "bad-x-7"
    assert "rows differ" in (folder / "failure.txt").read_text()
    assert (folder / "table").read_text() == "bad/x"
    assert [path.name for path in tmp_path.iterdir()] == ["bad-x-7"]
    assert played.replays == ["make soak SEED=7 ROW=bad/x"]
    assert any(line.startswith("FAILED: make soak SEED=7 ROW=bad/x\n") for line in table.said)
    assert [name for name, _ in table.played] == ["bad/x", "a/x"]
    tallies = played.tallies
    assert (tallies["bad/x"].failures, tallies["a/x"].failures, tallies["a/y"].histories) == (
        1, 0, 0,
    )  # fmt: skip


def test_errors_are_failures_too(tmp_path: Path) -> None:
    def broken(seed: int, peers: Peers, folder: Path) -> None:
        raise KeyError(seed)

    played = Soak({"a/x": broken}, PEERS, tmp_path, say=lambda _: None)
    played.play("a/x", 3, "now")

    assert played.tallies["a/x"].failures == 1


def test_the_summary_adds_up_and_ends_with_what_failed() -> None:
    lines = summary({"a/x": Tally(3, 1, 1.25), "b/y": Tally(2, 0, 2.0)}, ["make soak"]).splitlines()

    assert [line.split() for line in lines[1:4]] == [
        ["a/x", "3", "1", "1.2"],
        ["b/y", "2", "0", "2.0"],
        ["all", "5", "1", "3.2"],
    ]
    assert lines[4:] == ["FAILED: make soak"]


def test_a_row_or_one_way_of_it_may_be_chosen(table: Table) -> None:
    assert list(chosen(table.plays, "")) == ["a/x", "a/y", "bad/x"]
    assert list(chosen(table.plays, "a")) == ["a/x", "a/y"]
    assert list(chosen(table.plays, "a/y")) == ["a/y"]
    with pytest.raises(SystemExit, match="no row b; there are a, bad"):
        chosen(table.plays, "b")


def test_every_row_is_played_in_all_its_ways_and_append_tables_are() -> None:
    wanted = {f"{cell}/{way}" for cell in ROWS for way in ways_of(cell)}

    assert set(PLAYS) == {*wanted, "append/both-write"}


def test_the_command_prints_seeds_and_ends_with_code_1_if_one_failed(
    table: Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(soak, "HOME", tmp_path / "soak")
    monkeypatch.setattr(soak, "PLAYS", dict.fromkeys(table.plays, good_play))
    assert soak.main(["--seed", "5", "--row", "a"]) == 0
    good = capsys.readouterr().out
    monkeypatch.setattr(soak, "PLAYS", {"a/x": bad_play})
    assert soak.main(["--seed", "5"]) == 1
    told = capsys.readouterr().out

    assert re.findall(r"(a/\w) seed (\d+)", good) == [("a/x", "5"), ("a/y", "5")]
    assert told.splitlines()[-1] == "FAILED: make soak SEED=5 ROW=a/x"
