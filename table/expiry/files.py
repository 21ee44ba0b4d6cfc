"""Files that expiring snapshots might leave behind, before anybody is asked who else needs them.

Frames, never a loop over files: a range may have removed a million of them.

- Data files: those that a delta removes and neither it nor a later one of the range adds again. An
  upgrade moves a file to another level under the same name: a DELETE and an ADD in one delta, and
  the file stays.
- Changelog files: those that a changelog manifest adds.
- Metadata: manifests before the list that names them, index files before their manifest, so that
  what an interrupted run left can still be found.

Spec: maintenance §10.2, §10.3; reference classes ``FileDeletionBase``, ``SnapshotDeletion``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum

import polars as pl

from .. import paths
from ..errors import CorruptTable, FileMissing, UnsupportedFeature
from ..manifest.entry import SLIM_SCHEMA, EntryKind, FileSource
from ..plan import partition_text
from ..schema import TableSchema
from ..snapshot import Snapshot
from .names import NameReader


class FileKind(StrEnum):
    """What a file is; a plan's files are deleted in this order."""

    DATA = "data"
    CHANGELOG = "changelog"
    INDEX = "index"
    MANIFEST = "manifest"
    INDEX_MANIFEST = "index-manifest"
    MANIFEST_LIST = "manifest-list"
    STATISTICS = "statistics"


ROWS = (FileKind.DATA, FileKind.CHANGELOG)
"""Kinds that lie in bucket folders; the others are metadata."""

FILES_SCHEMA: dict[str, pl.DataType] = {
    "kind": pl.String(),
    "path": pl.String(),
    "size_bytes": pl.Int64(),
}
"""``path``: below the table's root; ``size_bytes``: null where metadata does not say."""

REMOVED_SCHEMA: dict[str, pl.DataType] = {
    "snapshot_id": pl.Int64(),
    **{
        name: SLIM_SCHEMA[name]
        for name in (
            "partition", "bucket", "name", "size_bytes", "extra_files", "file_source",
            "external_path",
        )
    },
}  # fmt: skip
_COLUMNS = [name for name in REMOVED_SCHEMA if name != "snapshot_id"]
_ENTRIES_SCHEMA = {"kind": SLIM_SCHEMA["kind"], **REMOVED_SCHEMA}
_PLACE = ("partition", "bucket", "name")
_NAME_BAD = r"[/\\\x00]"


def removed_files(
    names: NameReader, snapshots: Sequence[Snapshot], *, gone_before: int, appended: bool = True
) -> pl.DataFrame:
    """Data files that the deltas of these snapshots remove, REMOVED_SCHEMA.

    Args:
        gone_before: below this id a delta whose files are gone is passed over: a run before this
            one came as far as deleting metadata, so it had deleted the data files already.
        appended: False keeps what writers appended (unknown sources, too): it is the changelog
            of a table that writes no changelog files.
    """
    parts = [pl.DataFrame(schema=_ENTRIES_SCHEMA)]
    for snapshot in snapshots:
        try:
            parts += _entries(names, snapshot.id, snapshot.delta_manifest_list)
        except FileMissing:
            if snapshot.id >= gone_before:
                raise
    entries = pl.concat(parts)
    adds = entries.filter(pl.col("kind") == EntryKind.ADD)
    gone = entries.filter(pl.col("kind") == EntryKind.DELETE)
    # A delta may add again what it or one before it removed: an upgrade, or an old state as latest.
    again = adds.group_by(_PLACE).agg(pl.col("snapshot_id").max().alias("again"))
    stays = pl.col("again") >= pl.col("snapshot_id")
    marked = gone.join(again, on=_PLACE, how="left", maintain_order="left")
    removed = marked.filter(~stays.fill_null(value=False)).select(*REMOVED_SCHEMA)
    return removed if appended else removed.filter(pl.col("file_source") == FileSource.COMPACT)


def changelog_files(names: NameReader, snapshots: Iterable[Snapshot]) -> pl.DataFrame:
    """Changelog files of these snapshots, REMOVED_SCHEMA; none where the list is gone already."""
    parts = [pl.DataFrame(schema=_ENTRIES_SCHEMA)]
    for snapshot in snapshots:
        if snapshot.changelog_manifest_list is not None:
            with suppress(FileMissing):
                parts += _entries(names, snapshot.id, snapshot.changelog_manifest_list)
    entries = pl.concat(parts)
    return entries.filter(pl.col("kind") == EntryKind.ADD).select(*REMOVED_SCHEMA)


def _entries(names: NameReader, snapshot_id: int, manifest_list: str) -> list[pl.DataFrame]:
    """Entries of a list's manifests, _ENTRIES_SCHEMA; all of them or none."""
    number = pl.lit(snapshot_id, pl.Int64).alias("snapshot_id")
    lines = names.manifest_list(manifest_list)
    return [names.entries(line.name).select("kind", number, *_COLUMNS) for line in lines]


# --- paths ----------------------------------------------------------------------------------------


def placed(schema: TableSchema, files: pl.DataFrame, kind: FileKind) -> pl.DataFrame:
    """Data files (columns of REMOVED_SCHEMA) and what lies beside them, as FILES_SCHEMA.

    Raises:
        CorruptTable: a name that would leave its folder.
        UnsupportedFeature: a file outside the table's folder.
    """
    outside = files.filter(pl.col("external_path").is_not_null())
    if outside.height:
        raise UnsupportedFeature("external paths are not supported", file=outside["name"][0])
    files = files.unique(_PLACE, keep="last", maintain_order=True)
    beside = files.select("partition", "bucket", pl.col("extra_files").alias("name")).explode(
        "name", empty_as_null=True
    )
    beside = beside.drop_nulls("name").with_columns(size_bytes=pl.lit(None, pl.Int64))
    every = pl.concat(
        [files.select("partition", "bucket", "name", "size_bytes"), beside], how="vertical"
    )
    _check_names(every["name"])
    return every.join(folders(schema, every), on=["partition", "bucket"], how="left").select(
        kind=pl.lit(kind.value),
        path=pl.concat_str("folder", pl.lit("/"), "name"),
        size_bytes="size_bytes",
    )


def folders(schema: TableSchema, files: pl.DataFrame) -> pl.DataFrame:
    """``folder`` below the table's root of every partition and bucket among the files."""
    buckets = files.select("partition", "bucket").unique()
    texts = {p: partition_text(schema, p) for p in buckets["partition"].unique().to_list()}
    made = [
        paths.bucket_dir("", texts[partition], bucket).removeprefix("/")
        for partition, bucket in buckets.iter_rows()
    ]
    return buckets.with_columns(folder=pl.Series(made, dtype=pl.String))


def _check_names(names: pl.Series) -> None:
    bad = names.filter(names.str.contains(_NAME_BAD) | names.is_in(["", ".", ".."]))
    if bad.len():
        raise CorruptTable("file name escapes the table", file=bad[0])


# --- metadata -------------------------------------------------------------------------------------


class MetadataKind(StrEnum):
    """Which lists of a snapshot are looked through."""

    ROWS = "rows"  # base and delta
    CHANGELOG = "changelog"
    INDEX = "index"  # index manifest and files, statistics


EVERYTHING = frozenset(MetadataKind)


def metadata_files(
    names: NameReader,
    snapshots: Iterable[Snapshot],
    used: frozenset[str],
    wanted: frozenset[MetadataKind],
) -> pl.DataFrame:
    """Metadata files of these snapshots that are not ``used``, FILES_SCHEMA; each once."""
    found: dict[str, tuple[str, str, int | None]] = {}
    for snapshot in snapshots:
        for kind, name, size in _metadata(names, snapshot, wanted):
            if name not in used and name not in found:
                path = _metadata_path(kind, name)
                found[name] = (kind.value, path, size)
    return pl.DataFrame(list(found.values()), schema=FILES_SCHEMA, orient="row")


def _metadata(
    names: NameReader, snapshot: Snapshot, wanted: frozenset[MetadataKind]
) -> Iterator[tuple[FileKind, str, int | None]]:
    lists: list[tuple[str | None, str]] = []
    if MetadataKind.ROWS in wanted:
        lists += [(snapshot.base_manifest_list, "base"), (snapshot.delta_manifest_list, "delta")]
    if MetadataKind.CHANGELOG in wanted:
        lists.append((snapshot.changelog_manifest_list, "changelog"))
    for name, what in lists:
        if name is not None:
            yield from _list_files(names, name, snapshot.extra.get(f"{what}ManifestListSize"))
    if MetadataKind.INDEX in wanted:
        if snapshot.index_manifest is not None:
            yield from _index_files(names, snapshot.index_manifest)
        if snapshot.statistics is not None:
            yield FileKind.STATISTICS, snapshot.statistics, None


def _list_files(
    names: NameReader, name: str, size: object
) -> Iterator[tuple[FileKind, str, int | None]]:
    try:
        for line in names.manifest_list(name):
            yield FileKind.MANIFEST, line.name, line.size_bytes
    except FileMissing:
        return  # an interrupted run got so far
    yield FileKind.MANIFEST_LIST, name, size if isinstance(size, int) else None


def _index_files(names: NameReader, name: str) -> Iterator[tuple[FileKind, str, int | None]]:
    try:
        entries = names.index_entries(name)
    except FileMissing:
        return
    for entry in entries:
        if entry.external_path is not None:
            raise UnsupportedFeature("external paths are not supported", file=entry.file_name)
        yield FileKind.INDEX, entry.file_name, entry.file_size
    yield FileKind.INDEX_MANIFEST, name, None


def _metadata_path(kind: FileKind, name: str) -> str:
    match kind:
        case FileKind.INDEX:
            path = paths.index_file("", name)
        case FileKind.STATISTICS:
            path = paths.statistics_file("", name)
        case _:
            path = paths.manifest_file("", name)
    return path.removeprefix("/")
