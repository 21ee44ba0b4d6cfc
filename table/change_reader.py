"""What changed in a table, snapshot by snapshot: rows with their kinds, each snapshot's on its own.

A table with a changelog producer tells its changes in changelog files, of whichever snapshot has
them; other tables tell what was appended. Rewritten rows are no changes.

Spec: maintenance §5, format §8.6; reference classes ``ChangelogFollowUpScanner``,
``DeltaFollowUpScanner``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from . import paths
from .changelogs import ChangelogStore
from .data_file import read_columns
from .errors import InvalidRequest, TableError, UnsupportedFeature
from .handle import TableHandle
from .manifest.entry import DataFile, EntryKind, ManifestEntry, frame_entries
from .metadata import MetadataReader
from .plan import partition_text, refuse_files
from .row_kinds import KINDS
from .schema import KIND, Field, TableSchema
from .snapshot import CommitKind, Snapshot
from .supported import check_table

CHUNK_BYTES = 24 * 1024 * 1024
_OVERWRITES = ("streaming-read-overwrite", "streaming-read-append-overwrite")
_NAMES = {number: text for text, number in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that one snapshot made, or a part of them; those of a key come in order.

    ``kinds``: ``+I -U +U -D``, one a row, as `write` takes them.
    """

    snapshot_id: int
    rows: pl.DataFrame
    kinds: pl.Series


class ChangeReader:
    """Reads changes of one table in one schema.

    Args:
        columns: which, in this order; all by default.

    Raises:
        InvalidRequest: an unknown column.
        UnsupportedFeature: a table whose changes nobody tells.
    """

    def __init__(
        self, handle: TableHandle, schema: TableSchema, columns: Sequence[str] | None = None
    ) -> None:
        check_table(schema)
        self._handle, self._schema = handle, schema
        self._output = _output(handle, schema, columns)
        self._fields = _fields(schema, self._output)
        self._told = schema.options.changelog_producer != "none"
        engine = schema.options.merge_engine
        if schema.keyed and not self._told and engine != "deduplicate":
            raise UnsupportedFeature(
                "a table without changelog-producer cannot tell what its merge engine changes: "
                "set changelog-producer to lookup or full-compaction",
                merge_engine=engine, table=handle.name,
            )  # fmt: skip

    def between(self, after: int, last: int) -> Iterator[Changes]:
        """The changes of all snapshots above ``after``, up to ``last`` itself.

        Raises:
            InvalidRequest: one of them has expired, or is not there yet.
        """
        for snapshot_id in range(after + 1, last + 1):
            yield from self.of(self.snapshot(snapshot_id))

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """The snapshot, or its long-lived changelog.

        Raises:
            InvalidRequest: neither is there.
        """
        handle = self._handle
        found = handle.snapshots.find(snapshot_id) or ChangelogStore(handle).find(snapshot_id)
        if found is None:
            raise _gone(handle, snapshot_id)
        return found

    def of(self, snapshot: Snapshot) -> Iterator[Changes]:
        """The changes of one snapshot, bucket by bucket; nothing where it tells none."""
        for entries in self._buckets(snapshot):
            place = entries[0]
            text = partition_text(self._schema, place.partition)
            folder = paths.bucket_dir(self._handle.root, text, place.bucket)
            files = sorted((e.file for e in entries), key=lambda f: (f.min_sequence, f.name))
            try:
                for file in files:
                    yield from self._file(snapshot.id, folder, file)
            except TableError as error:
                raise error.at(
                    table=self._handle.name, partition=text, bucket=place.bucket,
                    snapshot_id=snapshot.id,
                ) from error  # fmt: skip

    def _buckets(self, snapshot: Snapshot) -> Iterator[Sequence[ManifestEntry]]:
        """Files with changes, by bucket."""
        name = self._manifest_list(snapshot)
        if name is None:
            return
        metadata = MetadataReader(self._handle)
        added = [
            metadata.slim(meta.name).filter(pl.col("kind") == EntryKind.ADD)
            for meta in metadata.manifest_list(name)
        ]
        if not added:
            return
        for _, found in pl.concat(added).group_by(["partition", "bucket"], maintain_order=True):
            entries = frame_entries(found)
            refuse_files(entries)
            yield entries

    def _manifest_list(self, snapshot: Snapshot) -> str | None:
        if snapshot.commit_kind is CommitKind.OVERWRITE:
            for option in _OVERWRITES:
                if self._schema.options.flag(option, default=False):
                    raise UnsupportedFeature(
                        "changes of an OVERWRITE are not told", option=option,
                        snapshot_id=snapshot.id, table=self._handle.name,
                    )  # fmt: skip
        if self._told:
            return snapshot.changelog_manifest_list
        return snapshot.delta_manifest_list if snapshot.commit_kind is CommitKind.APPEND else None

    def _file(self, snapshot_id: int, folder: str, file: DataFile) -> Iterator[Changes]:
        frames = read_columns(
            self._handle, self._schema, self._fields, (folder, file), CHUNK_BYTES,
            unique=not self._told,
        )  # fmt: skip
        for frame in frames:
            if frame.height:
                yield Changes(snapshot_id, frame.select(self._output), self._kinds(frame))

    def _kinds(self, frame: pl.DataFrame) -> pl.Series:
        if not self._schema.keyed:
            return inserts(frame.height)
        return frame.get_column(KIND).replace_strict(_NAMES, return_dtype=pl.String).alias("kinds")


def inserts(height: int) -> pl.Series:
    """So many times ``+I``."""
    return pl.Series("kinds", ["+I"], dtype=pl.String).new_from_index(0, height)


def _output(
    handle: TableHandle, schema: TableSchema, columns: Sequence[str] | None
) -> tuple[str, ...]:
    for name in columns or ():
        if name not in schema.names:
            raise InvalidRequest("no such column", column=name, table=handle.name)
    return schema.names if columns is None else tuple(columns)


def _fields(schema: TableSchema, output: Sequence[str]) -> list[Field]:
    if not schema.keyed:
        return [f for f in schema.fields if f.name in output] or [schema.fields[0]]
    system = {f.name for f in schema.physical} - set(schema.names)
    return [f for f in schema.physical if f.name in {*system, *output}]


def _gone(handle: TableHandle, snapshot_id: int) -> InvalidRequest:
    earliest = handle.snapshots.earliest_id()
    if earliest is not None and snapshot_id < earliest:
        return InvalidRequest(
            "the snapshot has expired, and its changes with it: read the table anew, or from the "
            "earliest snapshot", snapshot_id=snapshot_id, earliest=earliest, table=handle.name,
        )  # fmt: skip
    return InvalidRequest("no such snapshot", snapshot_id=snapshot_id, table=handle.name)
