"""One history of an engine's table played on a table and, where it is of use, on a twin of it.

The table is written by one library and compacted by another one; the twin is written alike, by
Java, and compacted by Java alone or by nobody (see `support.engine_histories` for when which).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from desilt.table.errors import UnsupportedFeature

from .changelog_replay import Misfit, Replay
from .compaction_check import differences, merged_rows
from .engine_histories import EngineHistory, Write
from .engines import Cell
from .histories import Batch, alike
from .peer_streams import SnapshotChanges, changes
from .peers import Peer, SnapshotInfo
from .players import Desilt, OfPeer, Player
from .shapes import Shape

__all__ = ["EnginePlay"]

KEPT = 3
"""How many snapshots are left by `EnginePlay.expire`."""


class EnginePlay:
    """A table, its twin, and who acts on them.

    ``writer`` and ``compactor`` act on the table, Java where none is given. ``java`` makes both
    tables, acts on the twin, and is the reader whose word counts; ``readers`` must read the same.
    """

    def __init__(
        self,
        history: EngineHistory,
        java: Peer,
        home: Path,
        *,
        writer: Player | None = None,
        compactor: Player | None = None,
        readers: Sequence[Player] = (),
    ) -> None:
        self.history, self.java = history, java
        self.mirror = OfPeer(java)
        self.writer, self.compactor = writer or self.mirror, compactor or self.mirror
        self.readers = readers
        self.path = self.mirror.create(history.shape, home / "table")
        self.twin = self.mirror.create(history.shape, home / "twin")

    @property
    def shape(self) -> Shape:
        return self.history.shape

    @property
    def cell(self) -> Cell:
        return self.history.cell

    # --- steps ----------------------------------------------------------------------------------

    def run(self, rounds: int) -> None:
        """Writes and compacts that often, checking each time; begins with a bottom run, mostly."""
        for step in self.history.steps(rounds):
            if isinstance(step, Write):
                self.write(step.count)
            else:
                self.compact(full=step.full)
        self.finish()

    def write(self, count: int | None = None) -> None:
        self.history.note(f"{self._name(self.writer)} writes")
        self._write(self.writer, self.history.batch(count))

    def _write(self, writer: Player, batch: Batch) -> None:
        if batch:
            writer.write(self.shape, self.path, batch)
            self.mirror.write(self.shape, self.twin, batch)

    def compact(self, *, full: bool) -> None:
        self._compact(self.compactor, full=full)

    def _compact(self, compactor: Player, *, full: bool) -> None:
        kind = "fully" if full else "a little"
        self.history.note(f"{self._name(compactor)} compacts {kind}")
        before = len(self.snapshots())
        compactor.compact(self.path, full=full)
        for snapshot in self.snapshots()[before:]:
            self.history.note(f"  makes snapshot {snapshot['id']}")
            wrong = differences(self.java, self.shape, self.cell, self.path, snapshot["id"])
            if wrong:
                self.fail("the compaction is not what the model says", *wrong)
        if self._twin_follows(full=full):
            self.mirror.compact(self.twin, full=full)
        self.check_rows()

    def _twin_follows(self, *, full: bool) -> bool:
        told = full and self.cell.producer == "full-compaction"
        return self.cell.looks_up or self.history.style == "stepwise" or told

    def java_goes_on(self) -> None:
        """Java writes and compacts what the others left."""
        self.history.note("java writes")
        self._write(self.mirror, self.history.batch(15))
        self.check_rows(by_files=True)
        self._compact(self.mirror, full=self.history.full(0.5))

    def expire(self) -> None:
        """Desilt drops all but the latest snapshots; what is left reads and tells as before."""
        self.history.note("desilt expires")
        kept = [snapshot["id"] for snapshot in self.snapshots()[-KEPT:]]
        before = self._moments(kept)
        Desilt().expire(self.path, kept=KEPT)
        if [snapshot["id"] for snapshot in self.snapshots()] != kept:
            self.fail("expiry left other snapshots", str(self.snapshots()), str(kept))
        if self._moments(kept) != before:
            self.fail("expiry changed what the last snapshots hold", str(before))

    def _moments(self, snapshots: Sequence[int]) -> list[Sequence[object]]:
        """What Java reads at these snapshots, and what it is told from the first of them on."""
        rows = [alike(self.mirror.read(self.shape, self.path, one)) for one in snapshots]
        return [*rows, changes(self.java, self.path, first=snapshots[0])]

    def finish(self) -> None:
        """The last checks: what a stream was told, and that Java can go on."""
        self.check_changes()
        self.java_goes_on()
        self.check_changes()

    # --- checks ---------------------------------------------------------------------------------

    def check_rows(self, *, by_files: bool = False) -> None:
        """Java reads what the twin holds, where the two are alike, else what the files say."""
        found = self._read(self.mirror, self.path)
        if self.history.style != "wild":
            twin = self._read(self.mirror, self.twin)
            self._same("java reads the table", found, "the twin", twin)
        if by_files or self.history.style == "wild":
            latest = self.snapshots()[-1]["id"]
            files = merged_rows(self.java, self.shape, self.cell, self.path, latest)
            self._same("java reads the table", found, "the model of its files", files)
        for reader in self.readers:
            rows = self._read(reader, self.path)
            self._same(f"{self._name(reader)} reads the table", rows, "java", found)

    def _read(self, player: Player, path: Path) -> list[str]:
        return alike(map(self.history.rules.comparable, player.read(self.shape, path)))

    def check_changes(self) -> None:
        """The changelog replays to the table, or is what was written where nobody makes one.

        In wild histories it need not: of a record that a compaction lifts alone, the library tells
        what merging would make of it, and keeps it as it is.
        """
        told = changes(self.java, self.path)
        for reader in self.readers:
            if isinstance(reader, Desilt):
                self._compare_told(reader, told)
        if self.cell.producer in ("none", "input"):
            self._compare_inputs(told, changes(self.java, self.twin))
            return
        if self.history.style != "wild":
            self._replay(told)

    def _compare_told(self, reader: Desilt, told: Sequence[SnapshotChanges]) -> None:
        """Desilt tells what Java tells, and refuses what only means something once merged."""
        if self.cell.producer == "none" and self.cell.engine != "deduplicate":
            with pytest.raises(UnsupportedFeature, match="changelog-producer"):
                reader.changes(self.shape, self.path)
            return
        found = {
            one["snapshot"]: self._by_key(one) for one in reader.changes(self.shape, self.path)
        }
        wanted = {one["snapshot"]: self._by_key(one) for one in told}
        if found != wanted:
            self.fail("desilt tells other changes than java", str(found), str(wanted))

    def _compare_inputs(
        self, told: Sequence[SnapshotChanges], twin: Sequence[SnapshotChanges]
    ) -> None:
        """Compactions add nothing; the numbers of snapshots between the writes do not matter."""
        found, wanted = [self._by_key(one) for one in told], [self._by_key(one) for one in twin]
        if len(found) != len(wanted):
            self.fail(f"the table's stream tells {len(found)} times, its twin's {len(wanted)}")
        for one, mine, other in zip(told, found, wanted, strict=True):
            self._same(f"the changes of snapshot {one['snapshot']}", mine, "the twin's", other)

    def _by_key(self, told: SnapshotChanges) -> list[str]:
        """The rows of a snapshot key after key; buckets come in any order."""
        keys = [1 + self.shape.names.index(name) for name in self.shape.primary_keys]
        rows = sorted(told["rows"], key=lambda row: json.dumps([row[i] for i in keys]))
        comparable = self.history.rules.comparable
        return [json.dumps([row[0], *comparable(row[1:])], ensure_ascii=False) for row in rows]

    def _replay(self, told: Sequence[SnapshotChanges]) -> None:
        replay = Replay(self.history.rules)
        by_snapshot = {one["snapshot"]: one for one in told}
        for snapshot in self.snapshots():
            if snapshot["kind"] != "COMPACT":
                if snapshot["id"] in by_snapshot:
                    self.fail(f"snapshot {snapshot['id']} has a changelog")
                continue
            try:
                replay.take([by_snapshot[snapshot["id"]]] if snapshot["id"] in by_snapshot else [])
            except Misfit as misfit:
                self.fail("the changelog does not fit", str(misfit))
            if self._tells_all(snapshot["id"]):
                rows = self.mirror.read(self.shape, self.path, snapshot["id"])
                at = f"snapshot {snapshot['id']}"
                self._same(f"the changelog up to {at}", replay.left, at, replay.shown(rows))

    def _tells_all(self, snapshot: int) -> bool:
        """Whether this compaction's changelog tells all that the snapshot holds."""
        levels = {file["level"] for file in self.java.files(self.path, snapshot=snapshot)}
        return 0 not in levels if self.cell.looks_up else levels <= {self.top}

    @property
    def top(self) -> int:
        """The level that full compactions write."""
        return int(self.shape.options["num-sorted-run.compaction-trigger"])

    def snapshots(self) -> list[SnapshotInfo]:
        return self.java.snapshots(self.path)

    # --- failing --------------------------------------------------------------------------------

    def _same(self, reader: str, found: Sequence[str], other: str, wanted: Sequence[str]) -> None:
        if found == wanted:
            return
        extra = [row for row in found if row not in wanted][:5]
        missing = [row for row in wanted if row not in found][:5]
        self.fail(
            f"{reader}: {len(found)} rows; {other}: {len(wanted)}",
            f"extra: {extra}",
            f"missing: {missing}",
        )

    def fail(self, *lines: str) -> NoReturn:
        pytest.fail("\n".join([lines[0], str(self.history), *lines]))

    def _name(self, player: Player) -> str:
        return player.peer.name if isinstance(player, OfPeer) else type(player).__name__.lower()
