"""The servers that tests of object stores and catalogs stand on do what those tests presume."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from support.proxy import HttpProxy
from support.proxy_faults import LostAnswer, Match
from support.servers import Postgres, Rgw, http_status
from support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

RACERS = 20
ROUNDS = 5


def test_one_of_many_conditional_puts_wins(s3_server: Rgw, bucket: str) -> None:
    clients = [s3_server.client() for _ in range(RACERS)]
    with ThreadPoolExecutor(RACERS) as pool:
        for round_number in range(ROUNDS):
            key, barrier = f"snapshot-{round_number}", threading.Barrier(RACERS)

            def race(racer: int, key: str = key, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                body, client = f"racer {racer}".encode(), clients[racer]
                return status(
                    lambda: client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
                )

            answers = list(pool.map(race, range(RACERS)))
            assert sorted(answers) == [200] + [412] * (RACERS - 1)
            stored = clients[0].get_object(Bucket=bucket, Key=key)["Body"].read()
            assert stored == f"racer {answers.index(200)}".encode()


def test_a_users_policy_is_what_it_may_do(s3_server: Rgw, bucket: str) -> None:
    user = s3_server.make_user(f"limited-{bucket}")
    client = s3_server.client(user)
    assert status(lambda: client.put_object(Bucket=bucket, Key="d/k", Body=b"1")) == 403
    s3_server.put_user_policy(user, "only", policy(bucket, "s3:PutObject", "s3:GetObject"))
    assert status(lambda: client.put_object(Bucket=bucket, Key="d/k", Body=b"1")) == 200
    assert status(lambda: client.get_object(Bucket=bucket, Key="d/k")["Body"].close()) == 200
    assert status(lambda: client.put_object(Bucket=bucket, Key="e/k", Body=b"1")) == 403
    assert status(lambda: client.delete_object(Bucket=bucket, Key="d/k")) == 403
    assert status(lambda: client.list_objects_v2(Bucket=bucket)) == 403
    s3_server.delete_user_policy(user, "only")  # what it wrote it may still read, as the owner
    assert status(lambda: client.put_object(Bucket=bucket, Key="d/k", Body=b"1")) == 403


def test_a_quota_refuses_what_is_too_much(s3_server: Rgw, bucket: str) -> None:
    user = s3_server.make_user(f"small-{bucket}")
    client = s3_server.client(user)
    own = s3_server.fresh_bucket(user=user)
    s3_server.set_quota(user, max_objects=1)
    assert status(lambda: client.put_object(Bucket=own, Key="1", Body=b"1")) == 200
    assert status(lambda: client.put_object(Bucket=own, Key="2", Body=b"1")) == 403


def test_signatures_stay_good_through_the_proxy(s3_server: Rgw, bucket: str) -> None:
    with HttpProxy(s3_server.endpoint) as proxy:
        client = s3_server.client(endpoint=proxy.endpoint)
        client.upload_fileobj(io.BytesIO(bytes(20 << 20)), bucket, "big key+ü/1")
        assert client.head_object(Bucket=bucket, Key="big key+ü/1")["ContentLength"] == 20 << 20
        listed = client.list_objects_v2(Bucket=bucket, Prefix="big key+")
        assert [one.get("Size") for one in listed.get("Contents", [])] == [20 << 20]
        copy = {"Bucket": bucket, "Key": "big key+ü/1"}
        client.copy_object(Bucket=bucket, Key="copy", CopySource=copy)  # type: ignore[arg-type]
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
        kinds = proxy.counts()
        assert kinds.pop("UPLOAD_PART") == 3
        once = ("UPLOAD_CREATE", "UPLOAD_COMPLETE", "HEAD", "LIST", "COPY", "DELETE_MANY")
        assert kinds == dict.fromkeys(once, 1)


def test_a_lost_answer_is_a_commit_all_the_same(s3_server: Rgw, bucket: str) -> None:
    with HttpProxy(s3_server.endpoint) as proxy:
        client = s3_server.client(endpoint=proxy.endpoint)
        proxy.on(Match(kind="PUT", path="snapshot-1$"), LostAnswer())
        with pytest.raises(BotoCoreError):
            client.put_object(Bucket=bucket, Key="snapshot-1", Body=b"1", IfNoneMatch="*")
        again = status(
            lambda: client.put_object(Bucket=bucket, Key="snapshot-1", Body=b"2", IfNoneMatch="*")
        )
        assert again == 412
        assert client.get_object(Bucket=bucket, Key="snapshot-1")["Body"].read() == b"1"


def policy(bucket: str, *actions: str) -> dict[str, object]:
    """Allows the actions on what lies under d/."""
    resource = f"arn:aws:s3:::{bucket}/d/*"
    allow = {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}
    return {"Version": "2012-10-17", "Statement": [allow]}


def status(call: Callable[[], object]) -> int:
    try:
        call()
    except ClientError as error:
        return http_status(error)
    return 200


def test_postgres_answers(postgres_server: Postgres, database: str) -> None:
    with psycopg.connect(postgres_server.dsn(database)) as connection:
        connection.execute("CREATE TABLE t (k INT PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
    with psycopg.connect(postgres_server.dsn(database)) as connection:
        assert connection.execute("SELECT k FROM t").fetchall() == [(1,)]


def test_a_commit_whose_answer_is_lost_happened(postgres_server: Postgres, database: str) -> None:
    with TcpProxy(postgres_server.host, postgres_server.port) as proxy:
        through = replace(postgres_server, port=proxy.port).dsn(database)
        with psycopg.connect(through) as connection:
            connection.execute("CREATE TABLE t (k INT PRIMARY KEY)")
        connection = psycopg.connect(through)
        connection.execute("INSERT INTO t VALUES (1)")
        proxy.lose_answer(b"COMMIT")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        connection.close()
        with psycopg.connect(through) as again:
            assert again.execute("SELECT k FROM t").fetchall() == [(1,)]
        with proxy.away(), pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(through)


def test_a_listing_lags_behind(s3_server: Rgw, bucket: str) -> None:
    def listed(client: S3Client) -> list[str]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="snapshot/").get("Contents", [])
        return [one.get("Key", "") for one in found]

    with HttpProxy(s3_server.endpoint) as proxy:
        client = s3_server.client(endpoint=proxy.endpoint)
        proxy.stale_listings(replays=1)
        assert listed(client) == []
        client.put_object(Bucket=bucket, Key="snapshot/1", Body=b"1")
        assert [listed(client), listed(client)] == [[], ["snapshot/1"]]
