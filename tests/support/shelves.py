"""Shelves: copies of one table, on the disk or in a bucket, on which every fault is tried.

A shelf has one copy at a time, and puts it back as it was before each trial; what a trial left is
looked at on the disk, as what is in a bucket is brought there. So a test says once what must hold.

On the disk every call of an act goes wrong in turn, in a bucket one of each kind, chosen by a seed:
there a call takes longer, and what is asked of a store is the same. Every kind of fault happens to
a call that changes something; to one that changes nothing, in a bucket, one kind or another: there
that is so of what is written, too, until it is closed. With DESILT_EVERY_CALL=1 a bucket is treated
as the disk is, by every case of `cases`: minutes in place of one.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, cast

import pytest

from desilt.table.errors import OutcomeUnknown, StorageUnavailable, TableError
from desilt.table.handle import TableHandle
from desilt.table.storage import LocalStorage, Storage, StoreOptions
from desilt.table.storage.s3 import S3Storage
from desilt.table.storage.s3_sink import S3Sink
from desilt.table.table import Table

from .builders import ManualClock, handle_on, reopened
from .faulty import MUTATIONS, Call, Death, Died, Failure, Fault, FaultyStorage, LostAnswer
from .s3_stores import impatient
from .servers import Rgw

__all__ = [
    "ACTING",
    "FAULTS",
    "BucketShelf",
    "LocalShelf",
    "Outcome",
    "Shelf",
    "Shelves",
    "Trial",
    "below",
    "cases",
    "changing",
    "possible",
]  # fmt: skip

ACTING = MUTATIONS | {"close", "delete"}
"""Calls that change what is there."""

FAULTS: dict[str, Callable[[int], Fault]] = {
    "dies": Death,
    "fails": Failure,
    "fails for good": partial(Failure, forever=True),
    "gets no answer": LostAnswer,
    "gets no answer any more": partial(LostAnswer, then_deaf=True),
}
UNANSWERED = ("gets no answer", "gets no answer any more")
"""What is but a failure to a caller who asks for nothing to be done."""

SEED = 11
EVERY_CALL = os.environ.get("DESILT_EVERY_CALL", "") not in ("", "0")
FOLDER = "folder"
UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WORKERS = 8

T = TypeVar("T")
Act = Callable[[TableHandle], object]
State = frozenset[tuple[str, str]]
Left = tuple[tuple[str, str], ...]
Outcome = Literal["done", "died", "unavailable", "unknown"]
Shelves = Callable[[Table], "Shelf"]


@dataclass(frozen=True, slots=True)
class Trial:
    """An act to which something happened.

    ``changed``: whether it left the copy another one, ``state``; ``known``: whether a trial before
    left the same but for names that are drawn, so that what comes after it is known.
    """

    what: str
    fault: Fault | None
    store: FaultyStorage
    outcome: Outcome
    state: State
    left: Left
    changed: bool
    known: bool

    @property
    def tidy(self) -> bool:
        """Whether who acted could remove what it made: one call failed, and it knew the end."""
        once = isinstance(self.fault, Failure) and not self.fault.forever
        return once and self.outcome != "unknown"


def possible(trial: Trial, old: T, new: T) -> list[T]:
    """What may be seen after the trial: an answer is true, and only who got none may not know."""
    match trial.outcome:
        case "done":
            return [new]
        case "unavailable":
            return [old]
        case _:
            return [old, new]


class Shelf(ABC):
    """Copies of ``table``, which is on the disk.

    ``root`` is the copy's, ``storage`` where it is, ``first`` its state before anything happened,
    and ``clock`` that of who acts on it.
    """

    def __init__(self, table: Table, root: str, storage: Storage, first: State) -> None:
        self.original = Path(table.path)
        self.first = first
        self._left: set[Left] = set()
        self.root = root
        self.storage = storage
        self.clock: ManualClock | None = None

    @property
    def handle(self) -> TableHandle:
        """The copy without faults."""
        return self.faulty(FaultyStorage(inner=self.storage))

    @property
    def table(self) -> Table:
        """The copy, seen through its own store."""
        return reopened(self.root, self.storage, self.clock)

    def faulty(self, store: FaultyStorage) -> TableHandle:
        return handle_on(self.root, store, self.clock)

    @abstractmethod
    def renew(self) -> None:
        """Put the copy back as it was at first."""

    @abstractmethod
    def state(self) -> State:
        """Every file below the copy's root, and what tells one content from another."""

    @abstractmethod
    def left(self, state: State) -> Left:
        """What tells two states apart of which different things may come."""

    @abstractmethod
    def seen(self, state: State | None = None) -> str:
        """Root of the copy, as it is now, on the disk; ``state``: if that is known."""

    @property
    @abstractmethod
    def exhaustive(self) -> bool:
        """Whether every call goes wrong."""

    @abstractmethod
    def places(self, calls: Sequence[Call]) -> Sequence[int]:
        """Numbers of the calls that are to go wrong."""

    @abstractmethod
    def kinds(self, call: Call, number: int, looks: Collection[str]) -> Collection[str]:
        """What is to happen to the call, the so manieth of those that are to go wrong."""

    def look(self, state: State | None = None) -> Table:
        """The copy, as it is now, on the disk."""
        return reopened(self.seen(state))

    def told(self, trial: Trial, look: Callable[[Table], T]) -> T:
        """What a look at what the trial left tells."""
        return look(self.look(trial.state))

    def trials(self, act: Act, looks: Collection[str] = FAULTS) -> Iterator[Trial]:
        """The act with nothing happening, and then with what may happen at each of its calls.

        Args:
            looks: what happens on the disk to calls that only ask.
        """
        self._left.clear()
        undisturbed = self.trial(act, None, "nothing happens")
        assert undisturbed.outcome == "done"
        yield undisturbed
        calls = undisturbed.store.calls
        for number, at in enumerate(self.places(calls)):
            for kind in self.kinds(calls[at], number, looks):
                trial = self.trial(act, FAULTS[kind](at), f"{kind} at call {at}, {calls[at]}")
                assert trial.store.fired, f"there was no {trial.what}"
                yield trial

    def trial(self, act: Act, fault: Fault | None, what: str) -> Trial:
        self.renew()
        store = FaultyStorage(inner=self.storage, fault=fault)
        outcome = _outcome(act, self.faulty(store), fault)
        state = self.state()
        strange = _files(state) - _files(self.first)
        strange -= {path.removeprefix(self.root) for path in store.made}
        assert not strange, f"{what}: files appeared without a call"
        left = self.left(state)
        known = left in self._left
        self._left.add(left)
        return Trial(
            f"{what}: {outcome}", fault, store, outcome, state, left, state != self.first, known
        )


def _outcome(act: Act, handle: TableHandle, fault: Fault | None) -> Outcome:
    try:
        act(handle)
    except Died:
        return "died"
    except StorageUnavailable:
        return "unavailable"
    except OutcomeUnknown:
        return "unknown"
    except TableError:
        raise
    except Exception:
        if isinstance(fault, Death):
            return "died"  # an encoder turned it into an error of its own
        raise
    return "done"


def changing(calls: Sequence[Call]) -> int:
    """The first call that changes anything."""
    return next(at for at, call in enumerate(calls) if call.method in ACTING)


def _files(state: State) -> set[str]:
    return {path for path, tag in state if tag != FOLDER}


def below(root: str) -> set[str]:
    """Paths of all files below a folder, as they go on behind its name."""
    found = ((folder, name) for folder, _, names in os.walk(root) for name in names)
    return {os.path.join(folder, name).removeprefix(root) for folder, name in found}


# --- on the disk ----------------------------------------------------------------------------------


class LocalShelf(Shelf):
    """The copy is another folder."""

    def __init__(self, table: Table, folder: Path) -> None:
        root = f"{folder}/copy/db.db/t"
        super().__init__(table, root, LocalStorage(sync=False), _stamps(table.path))
        shutil.copytree(self.original, root)

    def renew(self) -> None:
        if self.state() != self.first:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(self.original, self.root)

    def state(self) -> State:
        return _stamps(self.root)

    def left(self, state: State) -> Left:
        """By kinds of files, and how much a dead process wrote of its data; names are by chance."""
        first = {path for path, _ in self.first}
        return tuple(sorted((UUID.sub("*", p), self._what(p, t, p in first)) for p, t in state))

    def _what(self, path: str, tag: str, old: bool) -> str:
        if old and tag != FOLDER and (path, tag) not in self.first:
            return hashlib.md5(Path(f"{self.root}{path}").read_bytes()).hexdigest()
        if old or tag == FOLDER:
            return tag
        return tag.partition(" of ")[0] if "/bucket-" in path else "new"

    def seen(self, state: State | None = None) -> str:
        return self.root

    @property
    def exhaustive(self) -> bool:
        return True

    def places(self, calls: Sequence[Call]) -> Sequence[int]:
        return range(len(calls))

    def kinds(self, call: Call, number: int, looks: Collection[str]) -> Collection[str]:
        return _kinds(call, looks)


def _kinds(call: Call, looks: Collection[str]) -> Collection[str]:
    """Everything to a call that changes something, and to one that only asks what the test says."""
    if call.method in ACTING:
        return FAULTS
    return [kind for kind in looks if kind not in UNANSWERED]


def _stamps(root: str) -> State:
    """Size and time of every file; folders are told, too, but not when they changed."""
    found = {(folder.removeprefix(root), FOLDER) for folder, _, _ in os.walk(root)}
    for path in below(root):
        status = os.stat(f"{root}{path}")
        found.add((path, f"{status.st_size} bytes of {status.st_mtime_ns}"))
    return frozenset(found)


# --- in a bucket ----------------------------------------------------------------------------------


class _Remembering(S3Storage):
    """Reads a file that is written once, and never anew, no more often than that.

    It is asked for the same files in every trial, up to the call that goes wrong. Whoever changes
    the copy goes by here, so what is remembered is what is there.
    """

    def __init__(self, bucket: str, options: StoreOptions) -> None:
        super().__init__(bucket, options)
        self._read: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        if not _WRITTEN_ONCE.search(path):
            return super().read(path)
        if path not in self._read:
            self._read[path] = super().read(path)
        return self._read[path]

    def create(self, path: str, data: bytes) -> bool:
        self._read.pop(path, None)
        return super().create(path, data)

    def overwrite(self, path: str, data: bytes) -> None:
        self._read.pop(path, None)
        super().overwrite(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._read.pop(path, None)
        super().delete(paths)

    def open_sink(self, path: str) -> S3Sink:
        self._read.pop(path, None)
        return super().open_sink(path)


class BucketShelf(Shelf):
    """The copy is in a bucket, where only what is not as it was at first is put again.

    What is there is brought to the disk likewise: what has changed since the last look.
    """

    storage: _Remembering

    def __init__(self, table: Table, server: Rgw, bucket: str, folder: Path) -> None:
        root = f"s3://{bucket}/{folder.name}/db.db/t"
        storage = _Remembering(bucket, impatient(server))
        super().__init__(table, root, storage, _sums(Path(table.path)))
        self._client = server.client()
        self._bucket = bucket
        self._prefix = root.removeprefix(f"s3://{bucket}/")
        self._looked = Path(f"{folder}/looked/db.db/t")
        shutil.copytree(self.original, self._looked)
        self._there = self.first
        self._told: dict[tuple[Left, Callable[[Table], object]], object] = {}
        self.renew()

    def renew(self) -> None:
        now = self.state()
        first = _files(self.first)
        if strange := [f"{self.root}{path}" for path, _ in now if path not in first]:
            self.storage.delete(strange)
        _side_by_side(self._put, [path for path, _ in self.first - now])

    def _put(self, path: str) -> None:
        self.storage.overwrite(f"{self.root}{path}", _at(self.original, path).read_bytes())

    def left(self, state: State) -> Left:
        """By kinds of files, where the same act names them anew and by chance."""
        first = _files(self.first)
        return tuple(sorted((UUID.sub("*", p), t if p in first else "new") for p, t in state))

    def seen(self, state: State | None = None) -> str:
        now = self.state() if state is None else state
        for path in _files(self._there) - _files(now):
            _at(self._looked, path).unlink()
        _side_by_side(self._get, [path for path, _ in now - self._there])
        self._there = now
        return str(self._looked)

    def told(self, trial: Trial, look: Callable[[Table], T]) -> T:
        """What was left before is not brought here again."""
        key = (trial.left, look)
        if key not in self._told:
            self._told[key] = super().told(trial, look)
        return cast(T, self._told[key])

    def _get(self, path: str) -> None:
        target = _at(self._looked, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.storage.read(f"{self.root}{path}"))

    def state(self) -> State:
        """By checksums, which tell nothing of when."""
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        assert not answer["IsTruncated"]
        start = len(self._prefix)
        found = answer.get("Contents", [])
        return frozenset((o.get("Key", "")[start:], o.get("ETag", "").strip('"')) for o in found)

    @property
    def exhaustive(self) -> bool:
        return EVERY_CALL

    def places(self, calls: Sequence[Call]) -> Sequence[int]:
        """One call of each kind."""
        if self.exhaustive:
            return range(len(calls))
        by_kind: dict[str, list[int]] = {}
        for at, call in enumerate(calls):
            by_kind.setdefault(_kind_of(call), []).append(at)
        chance = random.Random(SEED)
        print(f"seed={SEED}, {len(by_kind)} kinds of {len(calls)} calls")
        return sorted(chance.choice(places) for places in by_kind.values())

    def kinds(self, call: Call, number: int, looks: Collection[str]) -> Collection[str]:
        """Everything to a call that changes something, and to the others one after the other."""
        if self.exhaustive:
            return _kinds(call, looks)
        if call.method in ACTING - _HELD_BACK:
            return FAULTS
        answered = [kind for kind in FAULTS if kind not in UNANSWERED]
        return answered[number % len(answered) :][:1]


_HELD_BACK = {"open_sink", "write"}
_WRITTEN_ONCE = re.compile("/(?:manifest|index|schema|bucket-[^/]+)/[^/]+$")
_KINDS = (
    "manifest-list", "index-manifest", "manifest", "snapshot-", "schema", "data", "index",
    "changelog-", "tag-", "consumer-", ".clock", ".",
)  # fmt: skip


def _kind_of(call: Call) -> str:
    """The method, and what kind of file it is about."""
    name = call.path.rpartition("/")[2]
    return f"{call.method} {next((k for k in _KINDS if name.startswith(k)), name)}"


def _sums(root: Path) -> State:
    return frozenset(
        (path, hashlib.md5(_at(root, path).read_bytes()).hexdigest()) for path in below(str(root))
    )


def _at(root: Path, path: str) -> Path:
    return Path(f"{root}{path}")


def _side_by_side(act: Callable[[str], None], paths: Sequence[str]) -> None:
    if len(paths) < 2:
        for path in paths:
            act(path)
        return
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(act, paths))


# --- in tests -------------------------------------------------------------------------------------


def cases(given: Mapping[str, T], *, s3: Collection[str]) -> pytest.MarkDecorator:
    """A test's ``case`` and its ``shelves``: all of them on the disk, some in a bucket, too."""
    found = [pytest.param(case, "local", id=name) for name, case in given.items()]
    found += [pytest.param(given[n], "s3", id=f"{n}-s3") for n in (given if EVERY_CALL else s3)]
    return pytest.mark.parametrize(("case", "shelves"), found, indirect=["shelves"])
