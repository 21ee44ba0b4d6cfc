"""A new object, streamed: small ones are put at once, larger ones in parts while they are written.

Nothing is there until `close` returned. What a dead process leaves of an upload in parts is not an
object; a lifecycle rule of the bucket removes it (operations).
"""

from __future__ import annotations

import errno
import io
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from ..errors import FileMissing, StorageUnavailable, TableError
from .object_path import ObjectPath
from .requests import REQUESTS
from .s3_calls import S3Calls, md5

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 << 20
GROW_PARTS = 1000
"""After so many parts they are twice as large: an object has at most 10,000."""

PARTS_AHEAD = 4
"""Parts of one object that may be on their way, and in memory, at a time."""


class S3Sink:
    """See `Sink`. For one writer."""

    def __init__(self, calls: S3Calls, place: ObjectPath, pool: Executor) -> None:
        self._calls = calls
        self._place = place
        self._pool = pool
        self._buffer = bytearray()
        self._size = 0
        self._upload: str | None = None
        self._part_bytes = PART_BYTES
        self._parts: list[Future[CompletedPartTypeDef]] = []
        self._coming: deque[Future[CompletedPartTypeDef]] = deque()
        self._open = True
        self._file = _SinkFile(self)

    @property
    def file(self) -> BinaryIO:
        return cast(BinaryIO, self._file)

    @property
    def size_bytes(self) -> int:
        """Bytes so far; final after ``close``."""
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        """More bytes.

        Raises:
            StorageUnavailable: an earlier part could not be put.
        """
        self._buffer += data
        self._size += len(data)
        while len(self._buffer) >= self._part_bytes:
            part = bytes(memoryview(self._buffer)[: self._part_bytes])
            del self._buffer[: self._part_bytes]
            self._send(part)

    def close(self) -> None:
        if not self._open:
            return
        if self._upload is None:
            data = bytes(self._buffer)
            self._calls.call("PUT", self._place, partial(self._put, data))
        else:
            if self._buffer:
                self._send(bytes(self._buffer))
            self._complete(self._upload, [part.result() for part in self._parts])
        self._buffer.clear()
        self._open = False

    def abort(self) -> None:
        if not self._open:
            return
        self._open = False
        self._buffer.clear()
        for part in self._parts:
            part.cancel()
        for part in self._parts:
            with suppress(BaseException):
                part.result()
        upload = self._upload
        if upload is not None:
            with suppress(TableError):
                self._calls.call("DELETE", self._place, partial(self._abort, upload))

    # --- requests ---------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._upload is None:
            self._upload = self._calls.call("PUT", self._place, self._begin)
        while len(self._coming) >= PARTS_AHEAD:
            self._coming.popleft().result()
        number = len(self._parts) + 1
        part = self._pool.submit(self._put_part, self._upload, number, data)
        self._parts.append(part)
        self._coming.append(part)
        if number % GROW_PARTS == 0:
            self._part_bytes *= 2

    def _begin(self) -> str:
        client, place = self._calls.client, self._place
        return client.create_multipart_upload(Bucket=place.bucket, Key=place.key)["UploadId"]

    def _put_part(self, upload: str, number: int, data: bytes) -> CompletedPartTypeDef:
        def put() -> CompletedPartTypeDef:
            answer = self._calls.client.upload_part(
                Bucket=self._place.bucket, Key=self._place.key, UploadId=upload,
                PartNumber=number, Body=data, ContentMD5=md5(data),
            )  # fmt: skip
            return {"PartNumber": number, "ETag": answer["ETag"]}

        done = self._calls.call("PUT", self._place, put)
        REQUESTS.moved(self._place.bucket, written=len(data))
        return done

    def _put(self, data: bytes) -> None:
        place = self._place
        self._calls.client.put_object(
            Bucket=place.bucket, Key=place.key, Body=data, ContentMD5=md5(data)
        )
        REQUESTS.moved(place.bucket, written=len(data))

    def _complete(self, upload: str, parts: list[CompletedPartTypeDef]) -> None:
        def complete() -> None:
            self._calls.client.complete_multipart_upload(
                Bucket=self._place.bucket, Key=self._place.key, UploadId=upload,
                MultipartUpload={"Parts": parts},
            )  # fmt: skip

        try:
            self._calls.call("PUT", self._place, complete)
        except (FileMissing, StorageUnavailable) as error:
            # An attempt whose answer was lost has ended the upload: then the object is there.
            if not self._is_there():
                raise error from error

    def _is_there(self) -> bool:
        place = self._place

        def size() -> int:
            answer = self._calls.client.head_object(Bucket=place.bucket, Key=place.key)
            return int(answer["ContentLength"])

        try:
            return self._calls.call("HEAD", place, size) == self._size
        except (FileMissing, StorageUnavailable):
            return False

    def _abort(self, upload: str) -> None:
        self._calls.client.abort_multipart_upload(
            Bucket=self._place.bucket, Key=self._place.key, UploadId=upload
        )


class _SinkFile(io.RawIOBase):
    """The sink as encoders see it; they understand an OSError."""

    def __init__(self, sink: S3Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        try:
            self._sink.write(view)
        except StorageUnavailable as error:
            raise OSError(errno.EIO, str(error)) from error
        return len(view)
