"""The golden tables of `fixtures.make_engine_tables`: what their archives hold, file by file."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro
from fixtures.make_engine_tables import TABLES, Plan

from desilt.table.catalog import open_table
from desilt.table.deletes import MAGIC_32, MAGIC_64
from desilt.table.manifest.index import IndexEntry, read_index_manifest
from desilt.table.metadata import MetadataReader
from desilt.table.storage import LocalStorage
from desilt.table.table import Table
from desilt.table.vector_files import vectors_in

from .canonical import Json, ordered
from .engine_model import Rules
from .engines import rules_of
from .histories import alike
from .peer_streams import SnapshotChanges
from .peers import NEWEST, OLDEST
from .shapes import Shape

__all__ = [
    "ARCHIVES",
    "Golden",
    "by_key",
    "file_kinds",
    "index_entries",
    "plans_of",
    "told_by",
    "unpacked",
]

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ARCHIVES = {version: FIXTURES / f"java-{version}-engines.tar.xz" for version in (OLDEST, NEWEST)}


def plans_of(version: str) -> Mapping[str, Plan]:
    """The tables of a version's archive."""
    return {n: plan for n, plan in TABLES.items() if version == NEWEST or not plan.newest_alone}


def unpacked(version: str, home: Path) -> Mapping[str, Golden]:
    """All tables of the archive, unpacked there."""
    with tarfile.open(ARCHIVES[version]) as packed:
        packed.extractall(home, filter="data")
    told: Mapping[str, Any] = json.loads((home / "golden.json").read_text(encoding="utf-8"))
    return {name: Golden(home / "default.db" / name, one) for name, one in told.items()}


@dataclass(frozen=True)
class Golden:
    """One table, and what the library that wrote it told of it."""

    path: Path
    told: Mapping[str, Any]

    @property
    def table(self) -> Table:
        return open_table(str(self.path), storage=LocalStorage(sync=False))

    @cached_property
    def shape(self) -> Shape:
        schema = self.table.schema
        return Shape(
            self.told["columns"], schema.primary_keys, schema.partition_keys, schema.raw_options
        )

    @cached_property
    def rules(self) -> Rules:
        return rules_of(self.shape)

    @property
    def rows(self) -> Mapping[int, list[str]]:
        """By snapshot."""
        return {int(i): self.alike(rows) for i, rows in self.told["rows"].items()}

    @property
    def compacted(self) -> list[str]:
        """After a full compaction."""
        return self.alike(self.told["compacted"])

    @property
    def changes(self) -> Mapping[int, list[str]]:
        """By snapshot, in order of their keys."""
        return {int(i): by_key(self.shape, rows) for i, rows in self.told["changes"].items()}

    @property
    def told_of_compaction(self) -> list[str]:
        return by_key(self.shape, self.told["told_of_compaction"])

    @property
    def deleted(self) -> Mapping[int, Mapping[str, list[int]]]:
        """Positions by snapshot and data file."""
        return {int(i): files for i, files in self.told["deleted"].items()}

    def alike(self, rows: Iterable[Sequence[Json]]) -> list[str]:
        """Comparable texts, for each function without what it leaves open."""
        return alike(self.rules.comparable(row) for row in rows)

    # --- what desilt says -----------------------------------------------------------------------

    def vectors(self, snapshot: int) -> dict[str, list[int]]:
        """Deleted positions by data file, decoded by desilt."""
        handle = self.table.handle
        entries = MetadataReader(handle).index(handle.snapshots.get(snapshot))
        return {name: at.tolist() for name, at in vectors_in(handle, entries).items() if len(at)}


def by_key(shape: Shape, rows: Iterable[Sequence[Json]]) -> list[str]:
    """Changes key after key, those of one key in their order; of tables without keys sorted."""
    rules = rules_of(shape)
    shown = [[row[0], *rules.comparable(row[1:])] for row in rows]
    texts = [json.dumps(ordered(row), ensure_ascii=False) for row in shown]
    if not shape.keyed:
        return sorted(texts)
    keys = [1 + shape.names.index(name) for name in shape.primary_keys]
    named = [json.dumps([row[i] for i in keys]) for row in shown]
    return [text for _, text in sorted(zip(named, texts, strict=True), key=lambda pair: pair[0])]


def told_by(shape: Shape, told: Iterable[SnapshotChanges]) -> dict[int, list[str]]:
    """What a reader of changes was told, as `Golden.changes` has it."""
    return {one["snapshot"]: by_key(shape, one["rows"]) for one in told}


# --- files --------------------------------------------------------------------------------------


def index_entries(path: Path) -> Iterable[tuple[Path, IndexEntry]]:
    """The entries of all index manifests of a table, each with its file."""
    for manifest in sorted((path / "manifest").glob("index-manifest-*")):
        for entry in read_index_manifest(manifest.read_bytes(), manifest.name):
            yield path / "index" / entry.file_name, entry


def file_kinds(path: Path) -> set[str]:
    """Which kinds of files a table has, each with the versions that stand in the bytes."""
    return {_kind(file) for file in path.rglob("*") if file.is_file()} - {""}


def _kind(file: Path) -> str:
    data, folder = file.read_bytes(), file.parent.name
    if folder == "manifest":
        return f"{_prefix(file.name)} {_avro_version(data)}"
    if folder == "index":
        return f"index {data[0]}: {_magics(data)}"
    if folder == "schema" or file.name.startswith("snapshot-"):
        return f"{_prefix(file.name)} {json.loads(data)['version']}"
    if file.suffix == ".parquet":
        return f"{_prefix(file.name)} {data[-4:].decode()}"
    return ""


def _prefix(name: str) -> str:
    """``manifest-list`` and the like."""
    for known in ("manifest-list", "index-manifest"):
        if name.startswith(known):
            return known
    return name.split("-")[0]


def _avro_version(data: bytes) -> str:
    """Of the first entry; lists of no manifest have none."""
    rows: list[dict[str, Any]] = list(fastavro.reader(io.BytesIO(data)))
    versions = {str(row["_VERSION"]) for row in rows}
    return "/".join(sorted(versions)) or "empty"


def _magics(data: bytes) -> str:
    """The layouts of the vectors in an index file, as far as its bytes say."""
    found = [
        bits
        for bits, magic in ((32, MAGIC_32.to_bytes(4)), (64, MAGIC_64.to_bytes(4, "little")))
        if magic in data
    ]
    return ",".join(f"{bits} bit" for bits in found) or "none"
