"""Clients of the peers: other implementations of the table format, run as server processes.

A peer answers one JSON line per request; the servers are tests/interop/java and
tests/interop/pypaimon_peer.py. Values in rows are in the canonical encoding of `support.canonical`.
A process starts at the first call, serves until it is closed, and is started anew if it died.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypedDict, cast

from .canonical import Json, type_json

__all__ = [
    "NEWEST",
    "OLDEST",
    "Column",
    "FileInfo",
    "Peer",
    "PeerDied",
    "PeerError",
    "PeerNotSetUp",
    "PeerUnsupported",
    "Picked",
    "ReadResult",
    "RowBytes",
    "Rows",
    "SnapshotInfo",
    "java_peer",
    "new_java_peer",
    "new_quick_java_peer",
    "peers_disabled",
    "pypaimon_peer",
]

NEWEST = "2.0.0"
OLDEST = "0.9.0"

_ROOT = Path(__file__).resolve().parents[2]
_PEERS = _ROOT / "build" / "peers"
_SETUP = "run make setup-peers"
_LOG_TAIL = 2000
_JAVA_OPTIONS = (
    "-Xmx4g",
    "-Duser.timezone=UTC",
    "-Dfile.encoding=UTF-8",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Djava.awt.headless=true",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
)
# A test asks for little from much code: compiling that well takes longer than running it.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

Rows = Sequence[Sequence[Json]]


class PeerError(Exception):
    """A peer answered that an operation failed; the text is its class and message."""


class PeerUnsupported(PeerError):
    """A peer answered that it has no such operation."""


class PeerDied(PeerError):
    """A peer's process ended or fell silent; the text holds the end of its log."""


class PeerNotSetUp(Exception):
    """A peer's program is not built or installed."""


class Column(TypedDict):
    """One column of a table to create: its name and its SQL type text."""

    name: str
    type: str


class ReadResult(TypedDict):
    """The rows of a merged read, in no promised order."""

    columns: list[str]
    rows: list[list[Json]]


class SnapshotInfo(TypedDict):
    """The fields of a snapshot that tests compare."""

    id: int
    kind: str
    schemaId: int
    totalRecordCount: int | None
    deltaRecordCount: int | None
    timeMillis: int
    commitUser: str
    commitIdentifier: int


class FileInfo(TypedDict):
    """One live data file; rows of keys and partitions are hex behind a four-byte arity."""

    partition: str
    partition_values: list[str]
    bucket: int
    totalBuckets: int
    level: int
    name: str
    size: int
    rowCount: int
    minKey: str
    maxKey: str
    minSeq: int
    maxSeq: int
    deleteRowCount: int | None
    fileSource: str | None
    schemaId: int


class RowBytes(TypedDict):
    """A row's bytes by the library; `key_hex` is None where it has no separate key writer."""

    hex: str
    hash: int
    key_hex: str | None


class Picked(TypedDict):
    """What a picker chose: the first `count` runs, to be merged into `output_level`."""

    output_level: int
    count: int


def peers_disabled() -> bool:
    """Whether the caller asked for a run without peers (DESILT_NO_PEERS=1)."""
    return os.environ.get("DESILT_NO_PEERS", "") not in ("", "0")


class Peer:
    """A client of one peer process. Calls from several threads are served one by one."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 300.0,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._env = dict(env or {})
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader: threading.Thread | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, op: str, *, timeout: float | None = None, **args: Any) -> Any:
        """Runs one operation; arguments that are None are left out of the request.

        Raises PeerUnsupported or PeerError when the peer says so, and PeerDied when no answer comes
        within `timeout` seconds; the next call then starts a new process.
        """
        request = {"op": op, **{key: value for key, value in args.items() if value is not None}}
        with self._lock:
            answer = self._exchange(json.dumps(request), timeout or self._timeout)
        if answer["ok"]:
            return answer["result"]
        text = f"{self.name}: {op}: {answer['error']}"
        if "Unsupported" in str(answer["error"]).split(":", 1)[0]:
            raise PeerUnsupported(text)
        raise PeerError(text)

    def close(self) -> None:
        """Ends the process, by force if it does not end in five seconds; calling twice is fine."""
        with self._lock:
            self._stop(force=False)

    def _exchange(self, line: str, timeout: float) -> dict[str, Any]:
        process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = self._lines.get(timeout=timeout)
        except BrokenPipeError:
            answer = None
        except queue.Empty:
            raise PeerDied(f"{self.name}: no answer in {timeout} s; {self._end()}") from None
        except BaseException:
            self._end()  # else the answer still to come would be taken for the next call's
            raise
        if answer is None:
            raise PeerDied(f"{self.name}: the process ended; {self._end()}")
        return cast("dict[str, Any]", json.loads(answer))

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        self._log = tempfile.TemporaryFile(prefix="desilt-peer-")  # noqa: SIM115 closed in _stop
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **self._env},
            text=True,
            encoding="utf-8",
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(
            target=_pump, args=(self._process, self._lines), name=f"peer-{self.name}", daemon=True
        )
        self._reader.start()
        return self._process

    def _end(self) -> str:
        """Stops a process that failed us and returns the end of its log."""
        process, log = self._process, self._log
        if process is None or log is None:
            return "no process"
        process.kill()
        process.wait()
        log.seek(0)
        tail = log.read()[-_LOG_TAIL:].decode("utf-8", "replace")
        self._stop(force=True)
        return f"exit code {process.returncode}, log ends:\n{tail}"

    def _stop(self, *, force: bool) -> None:
        process, log = self._process, self._log
        self._process = self._log = None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # end of input is the order to end
        try:
            process.wait(timeout=0.0 if force else 5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        process.stdout.close()
        if log is not None:
            log.close()

    def in_catalog(self, options: Mapping[str, str]) -> Peer:
        """The same process, asked about tables of a catalog with these options.

        There a table's `path` is its name, database.table, and warehouses are not looked at: the
        catalog's option `warehouse` holds.
        """
        return _CatalogPeer(self, options)

    # ------------------------------------------------------------- operations

    def version(self) -> dict[str, str]:
        """The library's name and version."""
        return cast("dict[str, str]", self.call("version"))

    def create_table(
        self,
        warehouse: Path | str,
        table: str,
        columns: Sequence[Column] | Mapping[str, str],
        *,
        database: str = "default",
        partition_keys: Sequence[str] = (),
        primary_keys: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
    ) -> Path:
        """Creates a table in a warehouse and returns its directory, in a catalog its name."""
        if isinstance(columns, Mapping):
            columns = [{"name": name, "type": kind} for name, kind in columns.items()]
        parsed = [{**column, "type": type_json(column["type"])} for column in columns]
        result = self.call(
            "create_table",
            warehouse=str(warehouse),
            database=database,
            table=table,
            columns=parsed,
            partition_keys=list(partition_keys),
            primary_keys=list(primary_keys),
            options=dict(options or {}),
        )
        return Path(result["path"])

    def write(
        self,
        path: Path | str,
        rows: Rows,
        *,
        options: Mapping[str, str] | None = None,
        user: str | None = None,
        identifier: int | None = None,
        bucket: int | None = None,
    ) -> list[int]:
        """Writes rows, each behind its row kind, in one commit; returns the new snapshot ids.

        A kind is +I, -U, +U or -D. Java writes with write-only=true unless `options` say otherwise,
        so nothing compacts. `identifier` needs a `user`; `bucket` is for tables whose library
        cannot choose one (dynamic buckets). pypaimon takes other kinds than +I only from the column
        that the table's option rowkind.field names.
        """
        result = self.call(
            "write",
            path=str(path),
            rows=rows,
            options=dict(options or {}),
            user=user,
            identifier=identifier,
            bucket=bucket,
        )
        return cast("list[int]", result["snapshots"])

    def insert(
        self, path: Path | str, rows: Rows, *, options: Mapping[str, str] | None = None
    ) -> list[int]:
        """Writes rows of kind +I in one commit; returns the new snapshot ids."""
        return self.write(path, [["+I", *row] for row in rows], options=options)

    def read(
        self,
        path: Path | str,
        *,
        snapshot: int | None = None,
        columns: Sequence[str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> ReadResult:
        """Reads the merged rows of the latest or the given snapshot."""
        result = self.call(
            "read",
            path=str(path),
            snapshot=snapshot,
            columns=None if columns is None else list(columns),
            options=dict(options or {}),
        )
        return cast(ReadResult, result)

    def compact(
        self,
        path: Path | str,
        *,
        full: bool = True,
        partition: Mapping[str, str] | None = None,
        bucket: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> list[int]:
        """Compacts the given or all buckets; returns the new snapshot ids, [] when none."""
        result = self.call(
            "compact",
            path=str(path),
            full=full,
            partition=None if partition is None else dict(partition),
            bucket=bucket,
            options=dict(options or {}),
        )
        return cast("list[int]", result["snapshots"])

    def bench_compact(
        self,
        path: Path | str,
        *,
        full: bool = True,
        repeats: int = 1,
        options: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> list[float]:
        """Times compactions of the same input; only the last one is committed."""
        result = self.call(
            "bench_compact",
            path=str(path),
            full=full,
            repeats=repeats,
            options=dict(options or {}),
            timeout=timeout,
        )
        return cast("list[float]", result["seconds"])

    def snapshots(self, path: Path | str) -> list[SnapshotInfo]:
        """All snapshots by rising id."""
        return cast("list[SnapshotInfo]", self.call("snapshots", path=str(path)))

    def files(self, path: Path | str, *, snapshot: int | None = None) -> list[FileInfo]:
        """The live data files of the latest or the given snapshot by the library's own scan."""
        return cast("list[FileInfo]", self.call("files", path=str(path), snapshot=snapshot))

    def binary_row(self, types: Sequence[str], rows: Rows) -> list[RowBytes]:
        """The library's bytes and hash of each row."""
        return cast("list[RowBytes]", self.call("binary_row", types=list(types), rows=rows))

    def bucket(self, types: Sequence[str], rows: Rows, buckets: int) -> list[int]:
        """The bucket of each key row by the library's default function."""
        result = self.call("bucket", types=list(types), rows=rows, buckets=buckets)
        return cast("list[int]", result)

    def pick(
        self,
        runs: Sequence[tuple[int, int]],
        *,
        trigger: int,
        max_size_amp: int = 200,
        size_ratio: int = 1,
        force_up_level0: bool = False,
        num_levels: int = 6,
    ) -> Picked | None:
        """What the library's picker chooses of runs given as (level, size)."""
        result = self.call(
            "pick",
            runs=[list(run) for run in runs],
            trigger=trigger,
            max_size_amp=max_size_amp,
            size_ratio=size_ratio,
            force_up_level0=force_up_level0,
            num_levels=num_levels,
        )
        return cast("Picked | None", result)

    def alter(self, path: Path | str, changes: Sequence[Mapping[str, Any]]) -> int:
        """Applies schema changes in one step; returns the new schema's id.

        A change is {"op": "add" or "type", "name", "type"}, {"op": "rename", "from", "to"},
        {"op": "drop" or "first", "name"}, {"op": "nullable", "name", "nullable"} or
        {"op": "option", "key", "value"}. Where a name may lie in a nested column, "path" may stand
        for "name" and "from": a list of names, with "element" and "value" for what is in arrays and
        maps (Java >= 1.0).
        """
        parsed = [
            {key: type_json(value) if key == "type" else value for key, value in change.items()}
            for change in changes
        ]
        result = self.call("alter", path=str(path), changes=parsed)
        return cast(int, result["schemaId"])


class _CatalogPeer(Peer):
    """A peer's view of one catalog."""

    def __init__(self, peer: Peer, options: Mapping[str, str]) -> None:
        super().__init__(peer.name, ())
        self._peer = peer
        self._options = dict(options)

    def call(self, op: str, *, timeout: float | None = None, **args: Any) -> Any:
        return self._peer.call(op, timeout=timeout, catalog=self._options, **args)

    def close(self) -> None:
        self._peer.close()


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Moves answers to a queue, where waiting for one can time out; None marks the end."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


@functools.cache
def java_peer(version: str = NEWEST) -> Peer:
    """The peer over Paimon's Java library of that version, one per test process."""
    return new_quick_java_peer(version)


def new_quick_java_peer(version: str = NEWEST) -> Peer:
    """A Java peer of the caller's own, for short work; the caller closes it."""
    return new_java_peer(version, jvm_options=_QUICK)


def new_java_peer(version: str = NEWEST, *, jvm_options: Sequence[str] = ()) -> Peer:
    """A Java peer of the caller's own, with further JVM options; the caller closes it."""
    home = _PEERS / f"java-{version}"
    classpath = home / "classpath.txt"
    if not (home / "stamp").is_file() or not classpath.is_file():
        raise PeerNotSetUp(f"the Java peer for Paimon {version} is not built: {_SETUP}")
    entries = f"{home / 'classes'}{os.pathsep}{classpath.read_text(encoding='utf-8').strip()}"
    command = [
        "java",
        *_JAVA_OPTIONS,
        f"-Ddesilt.peer.paimon={version}",
        *jvm_options,
        "-cp",
        entries,
        "desilt.peer.Peer",
    ]
    return Peer(f"java-{version}", command)


@functools.cache
def pypaimon_peer() -> Peer:
    """The peer over pypaimon, in its own environment, one per test process."""
    home = _PEERS / "pypaimon"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (home / "stamp").is_file() or not python.exists():
        raise PeerNotSetUp(f"the pypaimon peer is not installed: {_SETUP}")
    script = _ROOT / "tests" / "interop" / "pypaimon_peer.py"
    # Isolated: variables that point at this project's environment would mislead the peer's.
    # Not every S3 server takes the checksums that its library sends unasked.
    env = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    return Peer("pypaimon", [str(python), "-I", str(script)], env=env)
