"""The partitions of a snapshot, and what each holds.

Spec: maintenance §11.3; reference class ``PartitionEntry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from .handle import TableHandle
from .metadata import MetadataReader
from .partition import java_text, partition_label
from .row import Row, decode_row
from .schema import TableSchema
from .snapshot import Snapshot


def wall_text(millis: int) -> str:
    """A moment on the wall clock; the number where it is beyond Python's calendar."""
    try:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=millis)  # noqa: DTZ001  no zone
    except OverflowError:
        return f"{millis} ms"
    return moment.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition. ``texts``: its values by key, as Java writes them; None for null.

    ``newest_millis``: the newest creation of a file, local wall clock, of all that the snapshot's
    manifests still name: a file that is gone counts for as long as they do, as in Java.
    """

    partition: bytes
    label: str
    row: Row
    texts: Mapping[str, str | None]
    rows: int
    files: int
    size_bytes: int
    newest_millis: int | None

    @property
    def newest_text(self) -> str | None:
        """``newest_millis`` for people."""
        return None if self.newest_millis is None else wall_text(self.newest_millis)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "partition": self.label, "values": dict(self.texts), "rows": self.rows,
            "files": self.files, "size_bytes": self.size_bytes,
            "newest_millis": self.newest_millis,
        }  # fmt: skip


def partitions_in(
    snapshot: Snapshot, schema: TableSchema, reader: MetadataReader
) -> tuple[PartitionInfo, ...]:
    """All partitions with a live file, by label."""
    keys = schema.partition_keys
    types = schema.types(keys)
    live = (
        reader.live(snapshot)
        .group_by("partition")
        .agg(
            pl.col("row_count").sum().alias("rows"),
            pl.len().alias("files"),
            pl.col("size_bytes").sum(),
        )
    )
    named = [pl.DataFrame(schema={"partition": pl.Binary(), "creation_millis": pl.Int64()})]
    for meta in reader.manifests(snapshot):
        entries = reader.slim(meta.name).select("partition", "creation_millis")
        named.append(entries.group_by("partition").agg(pl.col("creation_millis").max()))
    newest = pl.concat(named).group_by("partition").agg(pl.col("creation_millis").max())
    found: list[PartitionInfo] = []
    for item in live.join(newest, on="partition", how="left").iter_rows(named=True):
        row = decode_row(item["partition"], types)
        texts = {
            key: None if value is None else java_text(value, data_type)
            for key, value, data_type in zip(keys, row, types, strict=True)
        }
        label = partition_label(row, keys, types)
        counts = (item["rows"], item["files"], item["size_bytes"], item["creation_millis"])
        found.append(PartitionInfo(item["partition"], label, row, texts, *counts))
    return tuple(sorted(found, key=lambda p: p.label))


def list_partitions(
    handle: TableHandle, reader: MetadataReader | None = None
) -> tuple[PartitionInfo, ...]:
    """The partitions of the latest snapshot; of a table without any, one without a name."""
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        return ()
    return partitions_in(snapshot, handle.latest_schema(), reader or MetadataReader(handle))
