"""The documented permissions are enough, and none of them is too much."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.builders import catalog, kv, rows_of, upserts
from support.s3_stores import impatient, keyed_on
from support.servers import Rgw, S3User

from desilt.table.errors import StorageUnavailable, TableError
from desilt.table.observe import TableObserver
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

DOCUMENTS = Path(__file__).parents[2] / "docs" / "operations.md"
LARGE = 20 << 20
ROWS = [(0, "again"), (1, "old1"), (2, "old2")]

Policy = dict[str, Any]


def documented() -> list[Policy]:
    """The policies of the handbook: that of everything, and that of reading."""
    return [
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", DOCUMENTS.read_text(), re.DOTALL)
        if "s3:GetObject" in block
    ]


def here(policy: Policy, bucket: str) -> Policy:
    """The policy for this bucket, as the gateway wants it: see the handbook."""
    made: Policy = json.loads(json.dumps(policy).replace("my-bucket", bucket))
    for statement in made["Statement"]:
        if "s3:DeleteObject" in statement["Action"]:
            statement["Resource"] = [statement["Resource"], f"arn:aws:s3:::{bucket}"]
    return made


def without(policy: Policy, action: str) -> Policy:
    less = copy.deepcopy(policy)
    for statement in less["Statement"]:
        statement["Action"] = [a for a in statement["Action"] if a != action]
    less["Statement"] = [s for s in less["Statement"] if s["Action"]]
    return less


def everything(store: S3Storage, warehouse: str) -> list[tuple[object, ...]]:
    """Each kind of thing that desilt does to a table; its rows in the end."""
    table = keyed_on(store, warehouse)
    table.write(upserts(3, "old"))
    table.write(kv((0, "again")))
    table.delete(pl.DataFrame({"k": [7]}, schema={"k": pl.Int32}))
    table.create_tag("kept", snapshot_id=1)
    table.compact("full")
    table.delete_tag("kept")
    assert table.expire(retain_max=1, retain_min=1).snapshots == 3
    assert catalog(warehouse, storage=store).tables() == ("db.t",)
    return rows_of(catalog(warehouse, storage=store).table("db.t"))


def _upkeep(table: Table) -> None:
    table.compact("full")
    table.expire(retain_max=1, retain_min=1)


def in_parts(store: S3Storage, warehouse: str) -> None:
    """A large file, and one that is given up."""
    for name, end in (("whole", "close"), ("given-up", "abort")):
        sink = store.open_sink(f"{warehouse}/{name}")
        sink.write(bytes(LARGE))
        getattr(sink, end)()


@pytest.fixture
def user(s3_server: Rgw, bucket: str) -> S3User:
    return s3_server.make_user(f"limited-{bucket}")


Store = Callable[[Policy], S3Storage]


@pytest.fixture
def allowed(s3_server: Rgw, bucket: str, user: S3User) -> Store:
    """The store of a user who may do what a policy says."""

    def made(policy: Policy) -> S3Storage:
        s3_server.put_user_policy(user, "desilt", here(policy, bucket))
        return S3Storage(bucket, impatient(s3_server, user=user))

    return made


def test_the_documented_permissions_are_enough(s3_server: Rgw, bucket: str, allowed: Store) -> None:
    store = allowed(documented()[0])
    assert everything(store, f"s3://{bucket}/lake") == ROWS
    in_parts(store, f"s3://{bucket}/lake")
    assert store.exists(f"s3://{bucket}/lake/whole")
    assert not s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    with pytest.raises(StorageUnavailable, match="access is denied"):
        store.overwrite(f"s3://{bucket}/elsewhere/file", b"")


@pytest.mark.parametrize("action", [a for s in documented()[0]["Statement"] for a in s["Action"]])
def test_each_documented_permission_is_needed(
    s3_server: Rgw, bucket: str, allowed: Store, action: str
) -> None:
    less = without(documented()[0], action)
    if action == "s3:AbortMultipartUpload":
        store = allowed(less)
        assert everything(store, f"s3://{bucket}/lake") == ROWS
        in_parts(store, f"s3://{bucket}/lake")
        left = s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        assert [upload.get("Key") for upload in left] == ["lake/given-up"]
        return
    # What a user has written is theirs in this gateway's eyes; so the table is somebody else's.
    table = keyed_on(S3Storage(bucket, impatient(s3_server)), f"s3://{bucket}/lake", name="db.u")
    table.write(upserts(3, "old"))
    table.write(kv((0, "again")))
    store = allowed(less)
    seen = Table(catalog(f"s3://{bucket}/lake", storage=store).handle("db.u"))
    with pytest.raises(TableError, match="access is denied"):
        _upkeep(seen)
    assert rows_of(Table(table.handle)) == ROWS


def test_reading_needs_no_more_than_documented(s3_server: Rgw, bucket: str, allowed: Store) -> None:
    straight = S3Storage(bucket, impatient(s3_server))
    table = keyed_on(straight, f"s3://{bucket}/lake")
    table.write(upserts(3, "old"))
    table.write(kv((0, "again")))
    files = dict(straight.walk(table.path))

    store = allowed(documented()[1])
    seen = catalog(f"s3://{bucket}/lake", storage=store).table("db.t")
    assert rows_of(seen) == ROWS
    observer = TableObserver(seen.handle)
    observer.refresh()
    assert observer.health(0).height == 1
    for act in (lambda: seen.write(kv((1, "no"))), lambda: seen.compact("full")):
        with pytest.raises(StorageUnavailable, match="access is denied"):
            act()
    with suppress(TableError):
        seen.expire(retain_max=1, retain_min=1)
    assert dict(straight.walk(table.path)) == files
