"""The documented permissions are enough, and none of them is too much."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from support.builders import catalog, kv, rows_of, upserts
from support.iam import Policy, actions_of, documented, policy_for, without
from support.s3_stores import impatient, keyed_on
from support.servers import Rgw, S3User

from desilt.table.errors import StorageUnavailable, TableError
from desilt.table.expire import Override, plan_expiry
from desilt.table.observe import TableObserver
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

LARGE = 20 << 20
ROWS = [(0, "again"), (1, "old1"), (2, "old2")]


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
    table.write(kv((0, "again")))
    assert table.compact_manifests().snapshot_id == 6
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
        s3_server.put_user_policy(user, "desilt", policy_for(policy, bucket))
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


@pytest.mark.parametrize("action", actions_of(documented()[0]))
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
    planned = plan_expiry(seen.handle, Override(retain_min=1, retain_max=1))
    assert len(planned.snapshots.going) == 1
    refused: tuple[tuple[str, Callable[[], object]], ...] = (
        ("PUT", lambda: seen.write(kv((1, "no")))),
        ("PUT", lambda: seen.compact("full")),
        ("DELETE", lambda: seen.expire(retain_max=1, retain_min=1)),
    )
    for operation, act in refused:
        with pytest.raises(StorageUnavailable, match="reason=access is denied") as caught:
            act()
        assert caught.value.message == f"cannot {operation}"
    assert dict(straight.walk(table.path)) == files
