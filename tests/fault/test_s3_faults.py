"""What goes wrong between us and an object store, by a proxy in between: every call by itself.

Each either succeeds all the same, or fails by name; nothing is lost, and the next call is well.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple, Self

import botocore.auth
import pytest
from support.proxy import HttpProxy
from support.proxy_faults import (
    Answer,
    CutAnswer,
    CutUpload,
    Fault,
    LostAnswer,
    Match,
    Refuse,
    SkewDate,
    denied,
    internal_error,
    slow_down,
    time_too_skewed,
)
from support.s3_stores import ATTEMPTS, impatient
from support.servers import Rgw

from desilt.table.errors import FileMissing, StorageUnavailable
from desilt.table.storage import StoreOptions, s3_calls
from desilt.table.storage.s3 import S3Storage

MIB = 1 << 20
SMALL = b"small" * 100
LARGE = random.Random(3).randbytes(MIB) * 10


class Place(NamedTuple):
    """A store behind a proxy, and the same one straight."""

    proxy: HttpProxy
    store: S3Storage
    straight: S3Storage
    root: str
    options: StoreOptions

    @property
    def bucket(self) -> str:
        return self.root.split("/")[2]


@pytest.fixture(scope="module")
def module_place(s3_server: Rgw, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    bucket, folder = s3_server.fresh_bucket(), tmp_path_factory.mktemp("faults")
    with HttpProxy(s3_server.endpoint) as proxy:
        options = impatient(s3_server, endpoint=proxy.endpoint, scratch=folder / "scratch")
        straight = S3Storage(bucket, impatient(s3_server, scratch=folder / "other"))
        root = f"s3://{bucket}/wh"
        straight.overwrite(f"{root}/large", LARGE)
        yield Place(proxy, S3Storage(bucket, options), straight, root, options)
    s3_server.empty_bucket(bucket)


@pytest.fixture
def place(module_place: Place) -> Place:
    module_place.proxy.clear()
    _renew(module_place)
    return module_place


def _renew(place: Place) -> None:
    """As it was before anything was used."""
    place.straight.delete([f"{place.root}/{name}" for name in WRITTEN])
    for name, data in (("small", SMALL), ("gone-1", b"1"), ("gone-2", b"2")):
        place.straight.overwrite(f"{place.root}/a/{name}", data)


# --- every kind of call ---------------------------------------------------------------------------


def _read(store: S3Storage, root: str) -> None:
    assert store.read(f"{root}/a/small") == SMALL


def _exists(store: S3Storage, root: str) -> None:
    assert store.exists(f"{root}/a/small")


def _is_directory(store: S3Storage, root: str) -> None:
    assert store.is_directory(f"{root}/a")


def _list(store: S3Storage, root: str) -> None:
    assert {s.name for s in store.list(f"{root}/a")} >= {"small"}


def _walk(store: S3Storage, root: str) -> None:
    assert {below for below, _ in store.walk(root)} >= {"a/small", "large"}


def _create(store: S3Storage, root: str) -> None:
    assert store.create(f"{root}/created", SMALL)
    assert store.read(f"{root}/created") == SMALL


def _overwrite(store: S3Storage, root: str) -> None:
    store.overwrite(f"{root}/written", SMALL)
    assert store.read(f"{root}/written") == SMALL


def _delete(store: S3Storage, root: str) -> None:
    store.delete([f"{root}/a/gone-1"])
    assert not store.exists(f"{root}/a/gone-1")


def _delete_many(store: S3Storage, root: str) -> None:
    store.delete([f"{root}/a/gone-1", f"{root}/a/gone-2"])
    assert {s.name for s in store.list(f"{root}/a")} == {"small"}


def _source(store: S3Storage, root: str) -> None:
    source = store.open_source(f"{root}/large")
    assert source.size_bytes == len(LARGE)
    source.fetch([(0, len(LARGE))])
    assert Path(source.path).read_bytes() == LARGE


def _soon(store: S3Storage, root: str) -> None:
    with store.soon([(f"{root}/a/small", len(SMALL))], MIB):
        assert Path(store.open_source(f"{root}/a/small").path).read_bytes() == SMALL


def _stream(store: S3Storage, path: str, data: bytes) -> None:
    sink = store.open_sink(path)
    try:
        sink.write(data)
        sink.close()
    except StorageUnavailable:
        sink.abort()
        raise
    assert store.read(path) == data


def _sink(store: S3Storage, root: str) -> None:
    _stream(store, f"{root}/streamed", SMALL)


def _parts(store: S3Storage, root: str) -> None:
    _stream(store, f"{root}/streamed", LARGE)


Use = Callable[[S3Storage, str], None]
USES: tuple[Use, ...] = (
    _read, _exists, _is_directory, _list, _walk, _create, _overwrite, _delete, _delete_many,
    _source, _soon, _sink, _parts,
)  # fmt: skip
each_use = pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.strip("_"))
WRITTEN = ("created", "written", "streamed")


def _fails(place: Place, use: Use, reason: str) -> None:
    """It fails by name, and is not there by half; and all is well as soon as the fault is gone."""
    with pytest.raises(StorageUnavailable, match=reason):
        use(place.store, place.root)
    place.proxy.clear()
    _whole_or_absent(place)
    _renew(place)
    use(place.store, place.root)


def _whole_or_absent(place: Place) -> None:
    for status in place.straight.list(place.root):
        if status.name in WRITTEN:
            assert place.straight.read(f"{place.root}/{status.name}") in (SMALL, LARGE)


def _end_uploads(server: Rgw, bucket: str) -> None:
    client = server.client()
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        key, number = upload.get("Key", ""), upload.get("UploadId", "")
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=number)


def _uploads(server: Rgw, bucket: str) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [upload.get("Key", "") for upload in found]


@each_use
def test_a_store_that_wants_fewer_requests_is_asked_again(place: Place, use: Use) -> None:
    """The first requests are turned away; a random share of them, all of them."""
    rule = place.proxy.on(Match(), slow_down(), times=ATTEMPTS - 1)
    use(place.store, place.root)
    assert rule.hits == ATTEMPTS - 1
    _renew(place)

    seed = sum(map(ord, use.__name__))
    print(f"{seed=}")
    calm = S3Storage(place.bucket, replace(place.options, attempts=12))
    with place.proxy.storm(slow_down(), share=0.3, seed=seed):
        use(calm, place.root)
    _renew(place)

    endless = place.proxy.on(Match(), slow_down(), times=None)
    with pytest.raises(StorageUnavailable, match=r"SlowDown|Service Unavailable"):
        use(place.store, place.root)
    assert endless.hits == ATTEMPTS
    place.proxy.clear()
    use(place.store, place.root)


@each_use
@pytest.mark.parametrize(
    "fault",
    [Refuse(), internal_error(), Answer(502, "BadGateway"), Answer(429, "TooManyRequests"),
     LostAnswer(), CutUpload(100), CutAnswer(50), SkewDate(86_400)],
    ids=str,
)  # fmt: skip
def test_what_breaks_once_is_done_again(place: Place, use: Use, fault: Fault) -> None:
    """Whatever the request was, and wherever its connection broke, the result is whole."""
    rule = place.proxy.on(Match(), fault)
    use(place.store, place.root)
    assert rule.hits == 1


@each_use
@pytest.mark.parametrize(
    ("fault", "reason"),
    [(denied(), "access is denied"), (time_too_skewed(), "clocks of this machine and of the store"),
     (Answer(403, "SignatureDoesNotMatch"), "secret key is wrong"),
     (Answer(403, "InvalidAccessKeyId"), "access key is unknown"),
     (Answer(400, "ExpiredToken"), "credentials have expired"),
     (Answer(403, "QuotaExceeded"), "quota is used up"),
     (Answer(404, "NoSuchBucket"), "bucket does not exist")],
    ids=lambda value: getattr(value, "code", ""),
)  # fmt: skip
def test_a_refusal_is_named_and_not_asked_again(
    place: Place, use: Use, fault: Answer, reason: str
) -> None:
    rule = place.proxy.on(Match(), fault, times=None)
    if use is _exists and fault.status == 404:
        # An answer to HEAD has no body, so nobody can say whether it is the bucket that is gone.
        assert not place.store.exists(f"{place.root}/a/small")
        assert rule.hits == 1
        return
    if use is _exists:
        reason = "access is denied|Bad Request"
    with pytest.raises(StorageUnavailable, match=reason):
        use(place.store, place.root)
    # After a 400 to HEAD, botocore asks once where the bucket is.
    assert rule.hits == (2 if use is _exists and fault.status == 400 else 1)
    place.proxy.clear()
    use(place.store, place.root)


@each_use
@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_clock_that_is_off_is_named_as_the_store_finds_it(
    place: Place, use: Use, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real store judges; to HEAD it says no more than that access is denied, and its time."""
    off = timedelta(minutes=minutes)

    class OffClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + off

    with monkeypatch.context() as patch:
        patch.setattr(s3_calls, "datetime", OffClock)
        signed = lambda: OffClock.now(UTC).replace(tzinfo=None)  # noqa: E731
        patch.setattr(botocore.auth, "get_current_datetime", signed)
        with pytest.raises(StorageUnavailable, match="clocks of this machine and of the store"):
            use(place.store, place.root)
    assert all(seen.status == 403 for seen in place.proxy.seen()[-1:])
    use(place.store, place.root)


def test_a_refusal_with_a_clock_that_is_right_is_one(place: Place) -> None:
    """Whatever is in the place of the time of the answer."""
    for date in ("", "yesterday", format_datetime(datetime.now(UTC), usegmt=True)):
        headers = (("Date", date),) if date else ()
        place.proxy.on(Match(kind="HEAD"), Answer(403, "AccessDenied", headers=headers))
        with pytest.raises(StorageUnavailable, match="reason=access is denied"):
            _exists(place.store, place.root)


@each_use
def test_a_store_that_goes_away_is_named_and_comes_back(place: Place, use: Use) -> None:
    with place.proxy.away(), pytest.raises(StorageUnavailable, match=r"Could not connect|closed"):
        use(place.store, place.root)
    use(place.store, place.root)
    place.proxy.cut()  # idle connections are dead now; the client does not know
    _renew(place)
    use(place.store, place.root)


@each_use
def test_connections_that_always_break_are_an_unavailable_store(place: Place, use: Use) -> None:
    place.proxy.on(Match(), Refuse(), times=None)
    _fails(place, use, "[Cc]onnection|closed")


@pytest.mark.parametrize(
    "use", [_read, _list, _walk, _source, _delete_many], ids=lambda use: use.__name__.strip("_")
)
def test_an_answer_that_makes_no_sense_is_a_failing_store(place: Place, use: Use) -> None:
    """A page of some gateway's, with a status that claims success."""
    garbage = Answer(200, "OK", message="<html>busy")
    place.proxy.on(Match(), garbage, times=1)
    if use in (_list, _walk, _delete_many):
        use(place.store, place.root)
    else:  # a body is a body: what is read is checked by those who know its form
        with pytest.raises((AssertionError, StorageUnavailable)):
            use(place.store, place.root)


# --- in mid-body ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_download_that_breaks_off_is_gone_on_with(place: Place, seed: int) -> None:
    """Where it did: no byte twice, none missing, and not from the start."""
    chance = random.Random(seed)
    after = [chance.randrange(1000, MIB) for _ in range(2)]
    print(f"{seed=} {after=}")
    source = place.store.open_source(f"{place.root}/large")
    for count in after:
        place.proxy.on(Match(kind="GET"), CutAnswer(count))
    source.fetch([(0, len(LARGE))])

    assert Path(source.path).read_bytes() == LARGE
    asked = [s.request.headers["range"] for s in place.proxy.seen(Match(kind="GET"))]
    resumed = [int(r.removeprefix("bytes=").split("-")[0]) % (8 * MIB) for r in asked[1:]]
    assert sum(1 for at in resumed if at) == 2, asked
    assert len(asked) == 5, "the end, two pieces, and the rest of each that broke off"


def test_a_download_that_never_ends_well_is_named(place: Place) -> None:
    source = place.store.open_source(f"{place.root}/large")
    with (
        place.proxy.storm(CutAnswer(10), Match(kind="GET")),
        pytest.raises(StorageUnavailable, match="cannot GET"),
    ):
        source.fetch([(0, 5 * MIB)])
    source.fetch([(0, len(LARGE))])
    assert Path(source.path).read_bytes() == LARGE


@pytest.mark.parametrize("kind", ["PUT", "UPLOAD_PART", "UPLOAD_CREATE", "UPLOAD_COMPLETE"])
@pytest.mark.parametrize("fault", [CutUpload(60), LostAnswer(), slow_down()], ids=str)
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_an_object_is_whole_or_absent(
    place: Place, s3_server: Rgw, kind: str, fault: Fault, times: int | None
) -> None:
    """Truncated uploads, lost answers: in the end it is there, or nothing of it."""
    data = SMALL if kind == "PUT" else LARGE
    path = f"{place.root}/streamed"
    place.proxy.on(Match(kind=kind), fault, times=times)
    # A request without a body is whole however it is cut; so only its answer was lost.
    carried_out = isinstance(fault, LostAnswer) or (
        isinstance(fault, CutUpload) and kind == "UPLOAD_CREATE"
    )
    _end_uploads(s3_server, place.bucket)
    failed = False
    try:
        _stream(place.store, path, data)
    except StorageUnavailable:
        failed = True
    place.proxy.clear()

    assert not failed or times is None
    _whole_or_absent(place)
    if not carried_out:
        assert place.straight.exists(path) != failed
    left = _uploads(s3_server, place.bucket)
    assert left == [] or (carried_out and kind == "UPLOAD_CREATE"), "nobody knows its id"
    _end_uploads(s3_server, place.bucket)
    _stream(place.store, path, data)


def test_the_end_of_an_upload_without_an_answer_is_found_out(place: Place) -> None:
    path = f"{place.root}/streamed"
    place.proxy.on(Match(kind="UPLOAD_COMPLETE"), LostAnswer(), times=None)
    sink = place.store.open_sink(path)
    sink.write(LARGE)
    sink.close()
    assert place.straight.read(path) == LARGE


# --- conditional puts -----------------------------------------------------------------------------


@pytest.mark.parametrize("lost", range(1, ATTEMPTS))
def test_an_object_made_without_an_answer_is_ours(place: Place, lost: int) -> None:
    place.proxy.on(Match(kind="PUT"), LostAnswer(), times=lost)
    assert place.store.create(f"{place.root}/created", b"ours")
    assert place.straight.read(f"{place.root}/created") == b"ours"
    assert not place.store.create(f"{place.root}/created", b"ours"), "made before, by another call"


def test_an_object_that_somebody_else_made_meanwhile_is_theirs(place: Place) -> None:
    place.straight.overwrite(f"{place.root}/created", b"theirs")
    place.proxy.on(Match(kind="PUT"), LostAnswer())
    assert not place.store.create(f"{place.root}/created", b"ours")
    assert place.straight.read(f"{place.root}/created") == b"theirs"


@pytest.mark.parametrize(
    ("fault", "doubt"),
    [(LostAnswer(), True), (CutUpload(2), True), (internal_error(), True), (slow_down(), None),
     (denied(), None)],
    ids=str,
)  # fmt: skip
def test_a_failure_to_create_says_whether_it_may_have_been_made(
    place: Place, fault: Fault, doubt: bool | None
) -> None:
    place.proxy.on(Match(kind="PUT"), fault, times=None)
    if isinstance(fault, LostAnswer):  # nobody can say that it exists, either
        place.proxy.on(Match(kind="GET"), Refuse(), times=None)
    with pytest.raises(StorageUnavailable) as raised:
        place.store.create(f"{place.root}/created", b"ours")
    if not isinstance(fault, LostAnswer):
        assert raised.value.context.get("in_doubt") == doubt


def test_an_object_that_went_before_we_knew_that_we_made_it_is_in_doubt(place: Place) -> None:
    place.proxy.on(Match(kind="PUT"), LostAnswer())
    place.proxy.on(Match(kind="GET"), Answer(404, "NoSuchKey"))
    with pytest.raises(StorageUnavailable, match="in_doubt=True"):
        place.store.create(f"{place.root}/created", b"ours")


def test_nobody_heard_of_a_request_that_could_not_be_sent(place: Place) -> None:
    with place.proxy.away(), pytest.raises(StorageUnavailable) as raised:
        place.store.create(f"{place.root}/created", b"ours")
    assert "in_doubt" not in raised.value.context


# --- deletions ------------------------------------------------------------------------------------


def _partial(code: str, *keys: str) -> str:
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>" for key in keys
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><DeleteResult>{errors}</DeleteResult>'


def test_objects_that_were_not_deleted_for_now_are_deleted_again(place: Place) -> None:
    body = _partial("InternalError", "wh/a/gone-1")
    place.proxy.on(Match(kind="DELETE_MANY"), Answer(200, "OK", body=body))
    paths = [f"{place.root}/a/gone-1", f"{place.root}/a/gone-2"]
    place.store.delete(paths)
    assert [place.straight.exists(path) for path in paths] == [False, True], "one was to be again"


@pytest.mark.parametrize(
    ("code", "reason"), [("AccessDenied", "access is denied"), ("SlowDown", "m")]
)
def test_objects_that_are_never_deleted_are_named(place: Place, code: str, reason: str) -> None:
    body = _partial(code, "wh/a/gone-2")
    place.proxy.on(Match(kind="DELETE_MANY"), Answer(200, "OK", body=body), times=None)
    with pytest.raises(StorageUnavailable, match=rf"reason={reason}, files=1, .*a/gone-2"):
        place.store.delete([f"{place.root}/a/gone-1", f"{place.root}/a/gone-2"])
    place.proxy.clear()
    _delete_many(place.store, place.root)


# --- the scratch folder ---------------------------------------------------------------------------


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "open"])
def test_a_full_scratch_folder_is_named_and_holds_nothing(
    place: Place, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Storage(place.bucket, replace(place.options, scratch=str(tmp_path)))
    with monkeypatch.context() as patch:
        patch.setattr(f"desilt.table.storage.s3_reads.os.{call}", _full)
        with pytest.raises(StorageUnavailable, match="scratch folder cannot be used"):
            store.open_source(f"{place.root}/large")
    assert len(place.proxy.seen(Match(kind="GET"))) <= 1, "the store is not asked again"
    gc.collect()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    _source(store, place.root)


def test_a_scratch_folder_that_fills_up_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place.store.open_source(f"{place.root}/large")
    with monkeypatch.context() as patch:
        patch.setattr("desilt.table.storage.s3_reads.os.pwrite", _full)
        with pytest.raises(StorageUnavailable, match="scratch folder cannot be used"):
            source.fetch([(0, 3 * MIB)])
    source.fetch([(0, len(LARGE))])
    assert Path(source.path).read_bytes() == LARGE


def test_a_scratch_folder_that_cannot_be_made_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = replace(place.options, scratch=str(tmp_path / "file" / "below"))
    store = S3Storage(place.bucket, options)
    with pytest.raises(StorageUnavailable, match="scratch folder cannot be used"):
        store.open_source(f"{place.root}/large")


# --- slow stores ----------------------------------------------------------------------------------


def test_attempts_wait_longer_each_time(place: Place) -> None:
    options = replace(place.options, pause_seconds=0.05)
    store = S3Storage(place.bucket, options)
    place.proxy.on(Match(), slow_down(), times=None)
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable):
        store.read(f"{place.root}/a/small")
    passed = time.monotonic() - begun
    assert 0.5 * (0.05 + 0.1 + 0.2) <= passed < 2


def test_missing_files_are_missing_whatever_else_happens(place: Place) -> None:
    place.proxy.on(Match(), internal_error(), times=2)
    with pytest.raises(FileMissing):
        place.store.read(f"{place.root}/nothing")
