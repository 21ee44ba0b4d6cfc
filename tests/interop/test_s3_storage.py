"""The storage interface on a real object gateway."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.servers import Rgw

from desilt.table.errors import FileMissing, InvalidRequest, StorageUnavailable
from desilt.table.storage import StoreOptions
from desilt.table.storage.s3 import S3Storage
from desilt.table.storage.s3_calls import make_client

MIB = 1 << 20


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def store(s3_server: Rgw, bucket: str, scratch: Path) -> S3Storage:
    return S3Storage(bucket, options_of(s3_server, scratch))


def options_of(server: Rgw, scratch: Path | None = None, endpoint: str = "") -> StoreOptions:
    return StoreOptions(
        endpoint=endpoint or server.endpoint,
        region=server.region,
        access_key=server.access_key,
        secret_key=server.secret_key,
        scratch=None if scratch is None else str(scratch),
    )


def test_objects(store: S3Storage, bucket: str) -> None:
    root = f"s3://{bucket}/wh/rec.db/t"

    assert store.create(f"{root}/snapshot/snapshot-1", b"one")
    assert not store.create(f"{root}/snapshot/snapshot-1", b"two")
    assert not store.create(f"{root}/snapshot/snapshot-1", b"one"), "the same content, another call"
    assert store.read(f"{root}/snapshot/snapshot-1") == b"one"
    assert store.exists(f"{root}/snapshot/snapshot-1")
    assert not store.exists(f"{root}/snapshot/snapshot-2")
    assert not store.exists(f"{root}/snapshot")
    store.overwrite(f"{root}/snapshot/LATEST", b"1")
    store.overwrite(f"{root}/snapshot/LATEST", b"22")
    assert store.read(f"{root}/snapshot/LATEST") == b"22"
    with pytest.raises(FileMissing, match="snapshot-9"):
        store.read(f"{root}/snapshot/snapshot-9")
    with pytest.raises(FileMissing, match="snapshot-9"):
        store.open_source(f"{root}/snapshot/snapshot-9")


def test_folders(store: S3Storage, bucket: str) -> None:
    root = f"s3://{bucket}/wh"
    for name in ("a.db/t/schema/schema-0", "a.db/t/x", "b.db/y", "z"):
        store.overwrite(f"{root}/{name}", name.encode())

    listed = [(s.name, s.is_dir, s.size_bytes) for s in store.list(root)]
    assert listed == [("a.db", True, 0), ("b.db", True, 0), ("z", False, 1)]
    assert store.list(f"{root}/nowhere") == ()
    assert store.is_directory(f"{root}/a.db/t")
    assert not store.is_directory(f"{root}/a")
    walked = {below: s.size_bytes for below, s in store.walk(root)}
    assert walked == {"a.db/t/schema/schema-0": 22, "a.db/t/x": 8, "b.db/y": 6, "z": 1}
    assert all(s.modified_millis > 0 and "/" not in s.name for _, s in store.walk(root))

    store.delete([f"{root}/z", f"{root}/missing", f"{root}/b.db/y"])
    store.delete([f"{root}/z"])
    assert [s.name for s in store.list(root)] == ["a.db"]


def test_more_than_a_page(store: S3Storage, bucket: str) -> None:
    root = f"s3://{bucket}/many"

    def put(number: int) -> None:
        store.overwrite(f"{root}/{number:04}", b"")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(put, range(1205)))

    assert [s.name for s in store.list(root)] == [f"{n:04}" for n in range(1205)]
    store.delete([f"{root}/{n:04}" for n in range(1204)])
    assert [s.name for s in store.list(root)] == ["1204"]


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 8 * MIB, 20 * MIB + 17])
def test_streams(store: S3Storage, bucket: str, size: int) -> None:
    chance = random.Random(size)
    data = chance.randbytes(size)
    path = f"s3://{bucket}/data/file"

    sink = store.open_sink(path)
    at = 0
    while at < size:
        step = chance.randint(1, 3 * MIB)
        sink.file.write(data[at : at + step])
        at += step
    assert not store.exists(path), "nothing is there before the end"
    sink.close()
    sink.close()
    sink.abort()

    assert sink.size_bytes == size
    assert store.read(path) == data


@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_aborted_streams_leave_nothing(
    store: S3Storage, s3_server: Rgw, bucket: str, size: int
) -> None:
    sink = store.open_sink(f"s3://{bucket}/data/file")
    sink.file.write(b"x" * size)
    sink.abort()
    sink.abort()
    sink.close()

    assert store.list(f"s3://{bucket}/data") == ()
    uploads = s3_server.client().list_multipart_uploads(Bucket=bucket)
    assert not uploads.get("Uploads")


def test_ranges(store: S3Storage, bucket: str, scratch: Path) -> None:
    """Whatever is asked for reads as it is; a reader that goes on holds little of the file."""
    chance = random.Random(7)
    size = 150 * MIB
    data = chance.randbytes(MIB) * 150
    path = f"s3://{bucket}/data/file"
    sink = store.open_sink(path)
    sink.write(data)
    sink.close()

    source = store.open_source(path)
    assert source.size_bytes == size
    held = 0
    for begin in range(0, size - 5 * MIB, 5 * MIB):
        end = begin + 3 * MIB + chance.randint(0, MIB)
        source.fetch([(begin, begin + 100), (begin + 2 * MIB, end)], [(end + MIB, end + 2 * MIB)])
        for low, high in ((begin, begin + 100), (begin + 2 * MIB, end), (size - 9, size)):
            with open(source.path, "rb") as file:
                file.seek(low)
                assert file.read(high - low) == data[low:high]
        held = max(held, sum(f.stat().st_blocks for f in scratch.rglob("*") if f.is_file()) * 512)
    assert held < 96 * MIB

    source.fetch([(0, 10)])  # back to what was given away
    with open(source.path, "rb") as file:
        assert file.read(10) == data[:10]
    del source
    assert not [f for f in scratch.rglob("*") if f.is_file()]


def test_files_opened_soon_are_fetched_at_once(store: S3Storage, bucket: str) -> None:
    files = [(f"s3://{bucket}/data/{n}", n * 100) for n in range(1, 200)]
    for path, size in files:
        store.overwrite(path, b"a" * size)

    with store.soon([*files, (f"s3://{bucket}/data/missing", 5)], MIB):
        for path, size in files[:150]:
            source = store.open_source(path)
            assert Path(source.path).read_bytes() == b"a" * size
        with pytest.raises(FileMissing):
            store.open_source(f"s3://{bucket}/data/missing")
    assert store.open_source(files[199 - 1][0]).size_bytes == 19900


def test_exclusive_stores_are_known_by_a_probe(store: S3Storage, bucket: str) -> None:
    assert store.exclusive(f"s3://{bucket}/wh/t/snapshot/snapshot-1")
    assert not store.is_directory(f"s3://{bucket}/wh"), "the probe is gone"


@pytest.mark.parametrize(
    "path",
    ["s3://{bucket}/a/../b", "s3://{bucket}/./b", "/etc/passwd", "s3://other-bucket/x", "s3:///x",
     "s3://{bucket}//x", "gs://{bucket}/x"],
)  # fmt: skip
def test_hostile_paths(store: S3Storage, bucket: str, path: str) -> None:
    path = path.format(bucket=bucket)
    for action in (store.read, store.exists, store.list, store.open_sink, store.open_source):
        with pytest.raises(InvalidRequest):
            action(path)
    with pytest.raises(InvalidRequest):
        store.create(path, b"")
    with pytest.raises(InvalidRequest):
        store.delete([path])


def test_wrong_credentials_and_buckets_are_named(s3_server: Rgw, bucket: str) -> None:
    good = options_of(s3_server)
    cases = {
        "access key is unknown": StoreOptions(good.endpoint, access_key="no", secret_key="x" * 20),
        "secret key is wrong": StoreOptions(
            good.endpoint, access_key=good.access_key, secret_key="x" * 20
        ),
    }
    for reason, options in cases.items():
        with pytest.raises(StorageUnavailable, match=reason):
            S3Storage(bucket, options).list(f"s3://{bucket}/")
    with pytest.raises(StorageUnavailable, match="bucket does not exist"):
        S3Storage("no-such-bucket", good).list("s3://no-such-bucket/")


def test_profiles_and_environment(
    s3_server: Rgw, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[lake]\naws_access_key_id={s3_server.access_key}\n"
        f"aws_secret_access_key={s3_server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    by_profile = StoreOptions(endpoint=s3_server.endpoint, profile="lake")
    assert S3Storage(bucket, by_profile).list(f"s3://{bucket}/") == ()
    with pytest.raises(StorageUnavailable, match="no client for the store"):
        S3Storage(bucket, StoreOptions(endpoint=s3_server.endpoint, profile="other"))
    with pytest.raises(StorageUnavailable, match="credentials"):
        S3Storage(bucket, StoreOptions(endpoint=s3_server.endpoint)).list(f"s3://{bucket}/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
    assert S3Storage(bucket, StoreOptions()).list(f"s3://{bucket}/") == ()


def test_the_region_is_that_of_the_options_the_environment_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text("[profile lake]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def region(options: StoreOptions) -> str:
        keys = replace(options, access_key="a", secret_key="s")
        return make_client(keys).meta.region_name

    by_profile = StoreOptions(profile="lake")
    assert region(StoreOptions()) == "us-east-1"
    assert region(by_profile) == "eu-north-1"
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(name, f"{name.lower().replace('_', '-')}-1")
    assert region(by_profile) == "aws-region-1"
    assert region(replace(by_profile, region="eu-west-1")) == "eu-west-1"
    monkeypatch.delenv("AWS_REGION")
    assert region(StoreOptions()) == "aws-default-region-1"
