"""Stores at their edges: paths that are none, answers that are rare, disks that are full, what dead
processes leave. (What stores do is held against real ones, in tests/interop and tests/fault.)"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from botocore.awsrequest import AWSResponse
from botocore.utils import parse_timestamp

from desilt.table.errors import InvalidRequest, StorageUnavailable
from desilt.table.format.parquet import ParquetEncoding, encode
from desilt.table.schema import columns_of, new_schema
from desilt.table.storage import LocalStorage, StoreOptions, normal_path, open_storage, opening
from desilt.table.storage.credentials import DataToken
from desilt.table.storage.object_path import object_path
from desilt.table.storage.s3 import S3Storage
from desilt.table.storage.s3_calls import make_client, md5
from desilt.table.storage.s3_reads import KEPT_BYTES, PIECE_BYTES, S3Ranges
from desilt.table.storage.s3_session import moment, session_of
from desilt.table.storage.scratch import PREFIX, Scratch

OPTIONS = StoreOptions(
    endpoint="http://127.0.0.1:9", access_key="a", secret_key="b", attempts=2, pause_seconds=0
)
NO_PATHS = ["s3://[bucket/x", "s3://buck[et/x", "file://[x/y", "//[x/y", "~nobody-of-this-name/x"]


@pytest.mark.parametrize("path", NO_PATHS)
def test_what_is_no_path_is_named(path: str) -> None:
    with pytest.raises(InvalidRequest):
        normal_path(path)


# --- answers --------------------------------------------------------------------------------------


class _Raw:
    """A body as the HTTP library has it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def answering(store: S3Storage, status: int, body: str) -> list[Any]:
    """Let every request be answered so; the requests."""
    seen: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, status, {}, _Raw(body.encode()))  # type: ignore[arg-type]

    events: Any = store._client.meta.events  # pyright: ignore[reportPrivateUsage]
    events.register("before-send.s3", answer)
    return seen


def test_an_object_that_is_gone_is_deleted() -> None:
    """Google's store answers so; a second attempt of a request whose answer was lost, too."""
    store = S3Storage("bucket", OPTIONS)
    seen = answering(store, 404, "<Error><Code>NoSuchKey</Code></Error>")

    store.delete(["s3://bucket/x"])

    assert [request.method for request in seen] == ["DELETE"]


def test_a_bucket_that_is_gone_is_named_by_a_deletion() -> None:
    store = S3Storage("bucket", OPTIONS)
    answering(store, 404, "<Error><Code>NoSuchBucket</Code></Error>")

    with pytest.raises(StorageUnavailable, match="the bucket does not exist"):
        store.delete(["s3://bucket/x"])


def test_a_listing_that_breaks_off_is_named() -> None:
    store = S3Storage("bucket", OPTIONS)
    answering(store, 200, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")

    with pytest.raises(StorageUnavailable, match="breaks off"):
        store.list("s3://bucket/x")


def test_a_deletion_of_many_bears_an_md5() -> None:
    """Stores that do not know the newer checksums refuse it without."""
    store = S3Storage("bucket", OPTIONS)
    seen = answering(store, 200, "<DeleteResult/>")

    store.delete(["s3://bucket/a&b", "s3://bucket/é"])

    (request,) = seen
    assert request.headers["Content-MD5"] == md5(request.body).encode()


def test_a_file_that_two_read_is_there_for_who_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes what the first has asked for, and the first gives up."""
    store = S3Storage("bucket", replace(OPTIONS, in_flight=1))
    begun, go = threading.Event(), threading.Event()

    def opened(path: str, whole_bytes: int = 0) -> str:
        begun.set()
        assert go.wait(30)
        return path

    monkeypatch.setattr(store, "_open", opened)
    with ThreadPoolExecutor(1) as other:
        with store.soon([("s3://bucket/a", 1), ("s3://bucket/b", 1)], 0):
            assert begun.wait(30)
            reader = other.submit(store.open_source, "s3://bucket/b")
            while "s3://bucket/b" in store._soon:  # pyright: ignore[reportPrivateUsage]
                time.sleep(0.001)
            threading.Timer(0.1, go.set).start()
        assert str(reader.result(30)) == "s3://bucket/b"


def test_what_the_store_does_not_know_is_asked_once_and_in_no_doubt() -> None:
    """Some know no conditional put."""
    store = S3Storage("bucket", OPTIONS)
    seen = answering(store, 501, "<Error><Code>NotImplemented</Code></Error>")

    with pytest.raises(StorageUnavailable) as caught:
        store.create("s3://bucket/x", b"x")
    assert len(seen) == 1
    assert "in_doubt" not in caught.value.context


def test_what_was_never_sent_is_in_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role whose keys cannot be had any more is no reason to keep files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3Storage("bucket", StoreOptions(endpoint="http://127.0.0.1:9"))

    with pytest.raises(StorageUnavailable, match="Unable to locate credentials") as caught:
        store.create("s3://bucket/x", b"x")
    assert "in_doubt" not in caught.value.context


# --- credentials that are handed out --------------------------------------------------------------


KEYS = {"s3.access-key": "a", "s3.secret-key": "b"}


def test_credentials_may_be_good_for_ever() -> None:
    client = make_client(OPTIONS, lambda: DataToken(KEYS, 2**63 - 1))

    assert "Expires=60" in client.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "x"}, ExpiresIn=60
    )


def test_credentials_of_another_store_are_named() -> None:
    with pytest.raises(StorageUnavailable, match="no keys of an S3 store"):
        make_client(OPTIONS, lambda: DataToken({"fs.oss.accessKeyId": "a"}, 2**42))


def test_stores_of_old_credentials_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_stores", kept := dict[object, object]())
    monkeypatch.setattr(opening, "_bucket", _some_store)
    ours, theirs = StoreOptions(profile="p"), StoreOptions(access_key="other")
    first, second = open_storage("s3://bucket/x", ours), open_storage("s3://bucket/x", theirs)

    for hour in range(200):
        open_storage("s3://bucket/x", StoreOptions(access_key=str(hour)))
        assert open_storage("s3://bucket/y", theirs) is second, "it is in use"

    assert open_storage("s3://bucket/y", ours) is first
    assert len(kept) == 1 + opening.HANDED_OUT_MAX


def _some_store(*_: object) -> object:
    return object()


# --- a full disk ----------------------------------------------------------------------------------


@contextmanager
def files_end_at(size: int) -> Generator[None]:
    """No file of this process grows beyond; what would is written in part, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("types", ["STRING", "TIMESTAMP(9)"], ids=["polars", "pyarrow"])
@pytest.mark.parametrize("missing", [1, 3, 5, 50])
def test_a_disk_that_is_full_at_the_very_end_is_no_file(
    types: str, missing: int, tmp_path: Path
) -> None:
    columns = columns_of({"k": "INT", "t": types})
    schema = new_schema(
        columns, primary_key=(), partition_by=(), options={}, comment=None, time_millis=0
    )
    encoding = ParquetEncoding.of(schema.fields, schema.options)
    dtype = pl.String if types == "STRING" else pl.Datetime("ns")
    rows = pl.DataFrame({"k": [1], "t": [None]}, schema={"k": pl.Int32, "t": dtype})

    def write(name: str) -> int:
        sink = LocalStorage().open_sink(f"{tmp_path}/{name}")
        try:
            encode(iter([rows]), sink.file, encoding, 8)
            sink.close()
        except BaseException:
            sink.abort()
            raise
        return sink.size_bytes

    whole = write("whole")
    with files_end_at(whole - missing), pytest.raises(StorageUnavailable):
        write("cut")
    assert [p.name for p in tmp_path.iterdir()] == ["whole"]


def test_a_file_that_cannot_be_flushed_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = LocalStorage().open_sink(f"{tmp_path}/f")
    sink.file.write(b"x")
    monkeypatch.setattr(os, "fsync", _full)

    with pytest.raises(StorageUnavailable, match="No space left"):
        sink.close()
    sink.abort()

    assert list(tmp_path.iterdir()) == []
    assert sink.file.closed


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_while_room_is_made_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched is moved to a new file; it must not be taken for moved when it was not."""
    size = KEPT_BYTES + 3 * PIECE_BYTES
    store = S3Storage("bucket", OPTIONS)
    with ThreadPoolExecutor(4) as pool:
        source = S3Ranges(
            store._calls,  # pyright: ignore[reportPrivateUsage]
            object_path("s3://bucket/x"),
            Scratch(str(tmp_path)),
            pool,
            size,
        )
        asked = _from_memory(monkeypatch)
        at = KEPT_BYTES + PIECE_BYTES
        source.fetch([(0, at)], ahead=[(at, at + PIECE_BYTES)])
        with monkeypatch.context() as patch:
            patch.setattr("desilt.table.storage.s3_reads._LocalFile.copy", _full_scratch)
            with pytest.raises(StorageUnavailable):
                source.fetch([(at, at + 10)])
        source.fetch([(at, at + 10)])

        assert asked, "the double is asked"
        with open(source.path, "rb") as file:
            file.seek(at)
            assert file.read(10) == b"x" * 10


def _full_scratch(*_: object) -> None:
    raise StorageUnavailable("the scratch folder cannot be used")


def _from_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every byte of the object is an x."""
    asked: list[int] = []

    def get(calls: object, place: object, local: Any, begin: int, end: int) -> None:
        asked.append(begin)
        local.write(begin, b"x" * (end - begin))

    monkeypatch.setattr("desilt.table.storage.s3_reads._get", get)
    return asked


# --- scratch folders ------------------------------------------------------------------------------


def test_a_dead_container_s_folder_goes_whatever_its_process_was_called(tmp_path: Path) -> None:
    """The first process of each container is number 1, of the one that died, too."""
    left = tmp_path / f"{PREFIX}{os.getpid()}-left"
    left.mkdir()
    (left / "piece").write_bytes(b"x")

    own = Path(Scratch(str(tmp_path)).new_path()).parent

    assert [p.name for p in tmp_path.iterdir()] == [own.name]


def test_a_live_process_s_folder_stays_whatever_it_is_called(tmp_path: Path) -> None:
    """It may be in another container, where its number is one that nobody has here."""
    alive = tmp_path / f"{PREFIX}999999999-alive"
    alive.mkdir()
    handle = os.open(alive, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)

    Scratch(str(tmp_path)).new_path()

    assert alive.is_dir()
    os.close(handle)


def test_the_folder_of_a_process_is_one_and_made_anew(tmp_path: Path) -> None:
    """Who cleans up temporary files may take one that was not used for days."""
    first, second = (Path(Scratch(str(tmp_path)).new_path()).parent for _ in range(2))
    assert first == second
    first.rmdir()

    assert Path(Scratch(str(tmp_path)).new_path()).parent.is_dir()


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-27T20:00:00.123Z",
        "2026-11-27T20:00:00Z",
        "2026-11-27T21:00:00+01:00",
        "2026-11-27T20:00:00",
        "Fri, 27 Nov 2026 20:00:00 GMT",
        "Fri, 27 Nov 2026 20:00:00 -0000",
        "20261127T200000Z",
        "1795809600",
        "1795809600.5",
        1795809600,
        1795809600.5,
    ],
)
def test_times_are_what_the_client_library_makes_of_them(value: Any) -> None:
    assert moment(value) == parse_timestamp(value)


@pytest.mark.parametrize("value", ["", "yesterday", None])
def test_what_is_no_time_is_refused_as_the_client_library_does(value: Any) -> None:
    for parse in (moment, parse_timestamp):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            parse(value)


def test_clients_use_it() -> None:
    session = session_of(StoreOptions(access_key="a", secret_key="b", region="x"), None)
    factory = session.get_component("response_parser_factory")
    assert factory.create_parser("rest-xml")._timestamp_parser is moment
