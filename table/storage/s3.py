"""Objects of S3 and compatible stores behind the storage interface.

Paths are ``s3://bucket/key`` (``s3a`` and ``s3n`` mean the same), as Paimon writes them. An object
is there whole or not at all, and a conditional put makes it exclusively; stores that ignore the
condition are found out by a probe (`S3Storage.exclusive`).

Spec: format §13.1; the S3 API.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import FileMissing, InvalidRequest, StorageUnavailable
from .base import FileStatus
from .credentials import TokenSource, with_token
from .object_path import ObjectPath, object_path
from .options import StoreOptions
from .requests import REQUESTS
from .s3_calls import (
    AGAIN,
    EXISTS,
    FAILURES,
    REASONS,
    S3Calls,
    code_of,
    in_doubt,
    md5,
    translated,
    worth_another_try,
)
from .s3_reads import Opening, S3Ranges, opened_ranges
from .s3_sink import S3Sink
from .scratch import Scratch

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ErrorTypeDef, ObjectIdentifierTypeDef

DELETE_MAX = 1000
"""Keys of one request, by the API."""

PROBE_PREFIX = ".desilt-probe-"


class S3Storage:
    """One bucket. Safe to use from any thread.

    Args:
        bucket: paths in others are refused.
        tokens: credentials that expire; else those of the options or the environment.
    """

    def __init__(
        self, bucket: str, options: StoreOptions, *, tokens: TokenSource | None = None
    ) -> None:
        self._bucket = bucket
        self._options = options
        self._tokens = tokens
        self._calls = S3Calls(options, tokens)
        self._client = self._calls.client
        self._scratch = Scratch(options.scratch)
        self._pool = ThreadPoolExecutor(options.in_flight, thread_name_prefix="s3")
        self._mutex = threading.Lock()
        self._exclusive: bool | None = None
        self._soon: dict[str, Opening] = {}

    @property
    def options(self) -> StoreOptions:
        """What another process opens it with: the credentials are those of now."""
        return self._options if self._tokens is None else with_token(self._options, self._tokens())

    @property
    def in_flight(self) -> int:
        """Requests at a time; more would only wait for connections."""
        return self._options.in_flight

    # --- objects ----------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        place = self._place(path)

        def get() -> bytes:
            answer = self._client.get_object(Bucket=place.bucket, Key=place.key)
            return answer["Body"].read()

        data = self._calls.call("GET", place, get)
        REQUESTS.moved(place.bucket, read=len(data))
        return data

    def exists(self, path: str) -> bool:
        place = self._place(path)
        try:
            self._calls.call(
                "HEAD",
                place,
                lambda: self._client.head_object(Bucket=place.bucket, Key=place.key),
            )
        except FileMissing:
            return False
        return True

    def create(self, path: str, data: bytes) -> bool:
        """Raises StorageUnavailable with ``in_doubt=True`` in its context where the object may have
        been made, or may still be: a request that got no answer can arrive late."""
        place, doubted = self._place(path), False
        for attempt in range(self._options.attempts):
            try:
                self._calls.once("PUT", place, partial(self._put, place, data, exclusive=True))
            except FAILURES as error:
                if code_of(error) in EXISTS:
                    return doubted and self._is_ours(path, data)
                doubted = doubted or in_doubt(error)
                if attempt + 1 == self._options.attempts or not worth_another_try(error):
                    failed = translated(error, "PUT", place)
                    raise failed.at(in_doubt=doubted or None) from error
                self._calls.pause(attempt)
            else:
                return True
        raise AssertionError("unreachable: attempts are at least one")

    def _is_ours(self, path: str, data: bytes) -> bool:
        """Whether an attempt without an answer made what is there."""
        try:
            return self.read(path) == data
        except FileMissing as error:
            raise StorageUnavailable(
                "an object that was there is gone", in_doubt=True, file=path
            ) from error

    def overwrite(self, path: str, data: bytes) -> None:
        place = self._place(path)
        self._calls.call("PUT", place, partial(self._put, place, data, exclusive=False))

    def _put(self, place: ObjectPath, data: bytes, *, exclusive: bool) -> None:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if exclusive else {}
        self._client.put_object(
            Bucket=place.bucket, Key=place.key, Body=data, ContentMD5=md5(data), **condition
        )
        REQUESTS.moved(place.bucket, written=len(data))

    def exclusive(self, path: str) -> bool:
        """By a probe beside the path: it is put twice, and the second must be refused."""
        with self._mutex:
            if self._exclusive is None:
                self._exclusive = self._probe(path)
            return self._exclusive

    def _probe(self, path: str) -> bool:
        probe = f"{path.rpartition('/')[0]}/{PROBE_PREFIX}{uuid.uuid4()}"
        try:
            self.create(probe, b"1")
            return not self.create(probe, b"2")
        finally:
            self.delete([probe])

    def delete(self, paths: Sequence[str]) -> None:
        batches = [paths[at : at + DELETE_MAX] for at in range(0, len(paths), DELETE_MAX)]
        for _ in self._pool.map(self._delete_batch, batches):
            continue

    def _delete_batch(self, paths: Sequence[str]) -> None:
        places = [self._place(path) for path in paths]
        if len(places) == 1:
            place = places[0]
            with suppress(FileMissing):  # some stores say so, AWS does not
                self._calls.call(
                    "DELETE",
                    place,
                    lambda: self._client.delete_object(Bucket=place.bucket, Key=place.key),
                )
            return
        errors = self._delete_keys(places[0], [place.key for place in places])
        for attempt in range(self._options.attempts - 1):
            again = [error.get("Key", "") for error in errors if error.get("Code") in AGAIN]
            if not again or len(again) < len(errors):
                break
            self._calls.pause(attempt)
            errors = self._delete_keys(places[0], again)
        if errors:
            # What is refused is told, rather than what may yet succeed.
            first = min(errors, key=lambda error: error.get("Code") in AGAIN)
            code = first.get("Code", "")
            raise StorageUnavailable(
                "cannot DELETE", reason=REASONS.get(code) or first.get("Message") or code,
                files=len(errors), file=f"s3://{self._bucket}/{first.get('Key')}",
            )  # fmt: skip

    def _delete_keys(self, place: ObjectPath, keys: Sequence[str]) -> Sequence[ErrorTypeDef]:
        """What could not be deleted, and why; the store tells this of each object."""
        objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
        answer = self._calls.call(
            "DELETE",
            place,
            lambda: self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
            ),
        )
        return [e for e in answer.get("Errors", []) if e.get("Code") != "NoSuchKey"]

    # --- folders ----------------------------------------------------------------------------------

    def is_directory(self, path: str) -> bool:
        place = self._folder(path)
        answer = self._calls.call(
            "LIST",
            place,
            lambda: self._client.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=1),
        )
        return bool(answer.get("Contents"))

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        found: dict[str, FileStatus] = {}
        place = self._folder(directory)
        for page in self._pages(place, delimiter="/"):
            for entry in page.get("CommonPrefixes", []):
                name = entry["Prefix"][len(place.key) :].rstrip("/")
                found[name] = FileStatus(name, True, 0, 0)
            for name, status in _files(page, place.key):
                found.setdefault(name, status)
        return tuple(found[name] for name in sorted(found))

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        place = self._folder(directory)
        for page in self._pages(place, delimiter=None):
            for below, status in _files(page, place.key):
                yield (
                    below,
                    FileStatus(
                        below.rpartition("/")[2], False, status.size_bytes, status.modified_millis
                    ),
                )

    def _pages(self, place: ObjectPath, delimiter: str | None) -> Iterator[Any]:
        more: dict[str, Any] = {} if delimiter is None else {"Delimiter": delimiter}
        while True:
            page = self._calls.call("LIST", place, partial(self._page, place, dict(more)))
            yield page
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token:
                raise StorageUnavailable("the store's listing breaks off", file=place.path)
            more["ContinuationToken"] = token

    def _page(self, place: ObjectPath, more: dict[str, Any]) -> Any:
        return self._client.list_objects_v2(Bucket=place.bucket, Prefix=place.key, **more)

    # --- data files -------------------------------------------------------------------------------

    def open_source(self, path: str) -> S3Ranges:
        with self._mutex:
            coming = self._soon.pop(path, None)
        if coming is None:
            return self._open(path)
        try:
            return coming.result()
        except CancelledError:  # asked for by another reader of the same file, who gave up
            return self._open(path)

    def _open(self, path: str, whole_bytes: int = 0) -> S3Ranges:
        return opened_ranges(self._calls, self._place(path), self._scratch, self._pool, whole_bytes)

    @contextmanager
    def soon(self, files: Sequence[tuple[str, int]], whole_bytes: int) -> Generator[None]:
        """Files (path, size) that are opened inside: as many at a time as hide the latency.

        Args:
            whole_bytes: files up to this size are fetched whole, of others what is behind the rows.
        """
        mine: dict[str, Opening] = {}
        with ThreadPoolExecutor(self._options.in_flight, thread_name_prefix="soon") as pool:
            for path, size in files:
                whole = size if size <= whole_bytes else 0
                mine[path] = pool.submit(copy_context().run, self._open, path, whole)
            with self._mutex:
                self._soon.update(mine)
            try:
                yield
            finally:
                for path, opening in mine.items():
                    opening.cancel()
                    with self._mutex:
                        if self._soon.get(path) is opening:
                            del self._soon[path]

    def open_sink(self, path: str) -> S3Sink:
        return S3Sink(self._calls, self._place(path), self._pool)

    # --- paths ------------------------------------------------------------------------------------

    def _place(self, path: str) -> ObjectPath:
        place = object_path(path)
        if place.bucket != self._bucket:
            raise InvalidRequest("the path is in another bucket", path=path, bucket=self._bucket)
        return place

    def _folder(self, path: str) -> ObjectPath:
        place = self._place(path)
        key = place.key.strip("/")
        return ObjectPath(place.bucket, f"{key}/" if key else "", path)


def _files(page: Any, prefix: str) -> Iterator[tuple[str, FileStatus]]:
    """(Path below the prefix, status); not the markers that some tools put in place of folders."""
    for entry in page.get("Contents", []):
        below = entry["Key"][len(prefix) :]
        if below and not below.endswith("/"):
            millis = int(entry["LastModified"].timestamp() * 1000)
            yield below, FileStatus(below, False, int(entry["Size"]), millis)
