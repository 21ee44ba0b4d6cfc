"""Every feature of Paimon that desilt refuses by name, as a change to a table that it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from desilt.table.table import Table

from .builders import catalog

__all__ = ["COLUMNS", "FEATURES", "ROWS", "Feature", "refused_table", "whole_table"]

COLUMNS = {"k": "INT NOT NULL", "v": "STRING", "p": "INT NOT NULL"}
ROWS = pl.DataFrame({"k": [1, 2], "v": ["a", "b"], "p": [0, 1]}, schema_overrides={"k": pl.Int32})


@dataclass(frozen=True)
class Feature:
    """What makes a table refused, and the words of the error.

    Tables have the columns k (the key, if ``keyed``), v and p (the partition); ``type`` is what v
    gets in place of STRING. ``expires``: snapshots of such a table are expired all the same.
    """

    title: str
    says: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    type: Any = "STRING"
    primary_keys: tuple[str, ...] = ("k", "p")
    keyed: bool = True
    expires: bool = True

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", self.title).strip("-")


def option(title: str, key: str, value: str, **more: Any) -> Feature:
    """A feature that one option switches on."""
    return Feature(title, f"option={key}, value={value}", {key: value}, **more)


def appended(title: str, key: str, value: str, **more: Any) -> Feature:
    """The same on an append table."""
    return option(title, key, value, keyed=False, **more)


def function(title: str, name: str, kind: str, says: str | None = None) -> Feature:
    """An aggregate function of column v."""
    options = {"merge-engine": "aggregation", "fields.v.aggregate-function": name}
    return Feature(title, says or f"function={name}", options, type=kind)


def typed(title: str, kind: Any, says: str, *, known: bool = False) -> Feature:
    """A column type, ``known`` where it is refused only for where it stands."""
    return Feature(title, says, type=kind, expires=known)


_ELSEWHERE = {"expires": False}

FEATURES = (
    # --- named in the reference, maintenance §0 -------------------------------------------------
    option("primary-key clustering", "pk-clustering-override", "true", **_ELSEWHERE),
    option("vector index by key", "pk-vector.index.columns", "v"),
    option("B-tree index by key", "pk-btree.index.columns", "v"),
    option("bitmap index by key", "pk-bitmap.index.columns", "v"),
    option("full-text index by key", "pk-full-text.index.columns", "v"),
    option("chain tables", "chain-table.enabled", "true", **_ELSEWHERE),
    option("managed blobs", "blob-field", "v", **_ELSEWHERE),
    option("blob descriptors", "blob-descriptor-field", "v", **_ELSEWHERE),
    option("blob descriptors, older name", "blob.stored-descriptor-fields", "v", **_ELSEWHERE),
    option("blob views", "blob-view-field", "v", **_ELSEWHERE),
    appended("data evolution", "data-evolution.enabled", "true", **_ELSEWHERE),
    appended("row tracking", "row-tracking.enabled", "true"),
    function("theta sketches", "theta_sketch", "BYTES"),
    function("HLL sketches", "hll_sketch", "BYTES"),
    function("unknown aggregate functions", "median", "BIGINT"),
    function("functions that do not take the type", "sum", "STRING", "STRING"),
    option("unknown options of a column", "fields.v.aggregator", "sum"),
    option("remote lookup files", "lookup.remote-file.enabled", "true", **_ELSEWHERE),
    option("format tables", "type", "format-table", **_ELSEWHERE),
    option("object tables", "type", "object-table", **_ELSEWHERE),
    option("materialized tables", "type", "materialized-table", **_ELSEWHERE),
    # --- §8.7: what Java's commits do besides ---------------------------------------------------
    option("Iceberg metadata in the table", "metadata.iceberg.storage", "table-location",
           **_ELSEWHERE),
    option("Iceberg metadata for Hive", "metadata.iceberg.storage", "hive-catalog", **_ELSEWHERE),
    option("Iceberg metadata, older name", "metadata.iceberg-compatible", "true", **_ELSEWHERE),
    option("commit callbacks", "commit.callbacks", "com.example.Callback"),
    option("tag callbacks", "tag.callbacks", "com.example.Callback"),
    option("commits that wait until they are visible", "visibility-callback.enabled", "true"),
    # --- buckets --------------------------------------------------------------------------------
    option("dynamic buckets", "bucket", "-1"),
    option("postpone buckets", "bucket", "-2"),
    Feature("keys across partitions, dynamic buckets", "option=bucket, value=-1", {"bucket": "-1"},
            primary_keys=("k",)),
    Feature("keys across partitions", "across partitions.*column=p", primary_keys=("k",)),
    option("buckets by modulo", "bucket-function.type", "mod"),
    option("buckets as Hive has them", "bucket-function.type", "hive"),
    # --- files ----------------------------------------------------------------------------------
    *(option(f"{name} data files", "file.format", name)
      for name in ("orc", "avro", "csv", "json", "text", "lance", "mosaic")),
    option("formats by level", "file.format.per.level", "0:avro"),
    option("ORC changelogs", "changelog-file.format", "orc"),
    option("manifests in another format", "manifest.format", "orc", **_ELSEWHERE),
    option("external paths", "data-file.external-paths", "s3://b/t", **_ELSEWHERE),
    option("choice of external paths", "data-file.external-paths.strategy", "round-robin",
           **_ELSEWHERE),
    option("data files in another folder", "data-file.path-directory", "data", **_ELSEWHERE),
    option("index files beside data files", "index-file-in-data-file-dir", "true", **_ELSEWHERE),
    option("files without key columns", "data-file.thin-mode", "true"),
    *(option(f"file index {kind}", f"file-index.{kind}.columns", "v")
      for kind in ("bloom-filter", "bitmap", "bsi", "range-bitmap", "one-to-come")),
    appended("maps laid out as rows", "fields.v.map.storage-layout", "shared-shredding"),
    appended("incremental clustering", "clustering.incremental", "true"),
    option("unknown codecs", "file.compression", "brotli"),
    # --- which rows count -----------------------------------------------------------------------
    option("unknown merge engines", "merge-engine", "median"),
    option("unknown changelog producers", "changelog-producer", "output"),
    option("order by snapshot", "sequence.snapshot-ordering", "true"),
    option("sequence numbers by time", "write.sequence-number-init-mode", "timestamp"),
    option("keys that may be null", "primary-key.nullable", "true"),
    appended("inserts that are merges", "upsert-key", "v"),
    option("reads that fall back to a branch", "scan.fallback-branch", "b"),
    option("reads that go to a branch first", "scan.primary-branch", "b"),
    option("another branch", "branch", "b", **_ELSEWHERE),
    option("rows that only the catalog may show", "query-auth.enabled", "true"),
    option("partitions that must be times", "partition.timestamp-format.strict", "true"),
    option("commits that shut out others", "commit.strict-mode.last-safe-snapshot", "1"),
    # --- columns --------------------------------------------------------------------------------
    typed("VARIANT", "VARIANT", "VARIANT"),
    typed("BLOB", "BLOB", "BLOB"),
    typed("VECTOR", {"type": "VECTOR", "element": "FLOAT", "length": 3}, "VECTOR"),
    typed("GEOMETRY", "GEOMETRY", "GEOMETRY"),
    typed("GEOGRAPHY", "GEOGRAPHY", "GEOGRAPHY"),
    typed("BLOB inside", {"type": "ARRAY", "element": "BLOB"}, "BLOB"),
    typed("floating point in map keys", {"type": "MAP", "key": "DOUBLE", "value": "INT"},
          "column=v", known=True),
    typed("ROW without fields", {"type": "ROW", "fields": []}, "column=v", known=True),
)  # fmt: skip


def whole_table(folder: Path, name: str, *, keyed: bool = True) -> Table:
    """A table that desilt takes, with two commits."""
    table = catalog(folder).create_table(
        name,
        COLUMNS,
        primary_key=("k", "p") if keyed else (),
        partition_by=("p",) if keyed else (),
        options={"bucket": "1"} if keyed else {},
    )
    table.write(ROWS)
    table.write(ROWS)
    return table


def refused_table(folder: Path, name: str, feature: Feature) -> Table:
    """A table that was opened, and then became what is refused."""
    table = whole_table(folder, name, keyed=feature.keyed)
    path = Path(f"{table.path}/schema/schema-0")
    schema: dict[str, Any] = json.loads(path.read_bytes())
    schema["options"] |= feature.options
    schema["fields"][1]["type"] = feature.type
    if feature.keyed:
        schema["primaryKeys"] = list(feature.primary_keys)
    path.write_text(json.dumps(schema))
    return table
