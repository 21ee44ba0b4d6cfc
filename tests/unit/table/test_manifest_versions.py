"""Manifests of another version, or of kinds of entries that nobody knows, are refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro
import pytest
from support.builders import keyed_table, upserts

from desilt.table.errors import CorruptTable, UnsupportedFeature
from desilt.table.manifest.codec import read_manifest, read_manifest_slowly

READERS = [read_manifest, read_manifest_slowly]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    table = keyed_table(tmp_path_factory.mktemp("made"))
    table.write(upserts(3, "a"))
    (path,) = (p for p in Path(table.path, "manifest").iterdir() if "list" not in p.name)
    return path.read_bytes()


def changed(manifest: bytes, field: str, avro: object, *values: object) -> bytes:
    """With another type of a field, and an entry for each of these values."""
    reader = fastavro.reader(io.BytesIO(manifest))
    schema: Any = reader.writer_schema
    (entry,) = list(reader)
    for one in schema["fields"]:
        if one["name"] == field:
            one["type"] = avro
    out = io.BytesIO()
    fastavro.writer(out, schema, [{**entry, field: value} for value in values])
    return out.getvalue()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("avro", "values"),
    [
        ("int", (3,)),
        ("int", (2, 1, 2)),
        ("long", (2, 1 << 40)),
        ("string", ("2",)),
        ("boolean", (True,)),
        ("bytes", (b"2",)),
        (["null", "int"], (2, None)),
    ],
    ids=str,
)
def test_versions(manifest: bytes, read: Any, avro: object, values: tuple[object, ...]) -> None:
    data = changed(manifest, "_VERSION", avro, *values)
    with pytest.raises((UnsupportedFeature, CorruptTable), match="the-file"):
        read(data, "the-file", stats=True)


def test_the_one_that_is_known(manifest: bytes) -> None:
    for avro in ("int", "long", ["null", "int"]):
        data = changed(manifest, "_VERSION", avro, 2, 2)
        assert read_manifest(data, "the-file", stats=True).height == 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", [2, -1])
def test_kinds(manifest: bytes, read: Any, kind: int) -> None:
    data = changed(manifest, "_KIND", "int", 0, kind, 1)
    with pytest.raises(CorruptTable, match="unknown kind of manifest entry, file=the-file"):
        read(data, "the-file", stats=True)
