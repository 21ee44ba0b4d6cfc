"""The servers that tests of object stores and catalogs stand on do what those tests presume."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
from botocore.exceptions import ClientError
from support.servers import Postgres, Rgw, http_status

RACERS = 20
ROUNDS = 5


def test_one_of_many_conditional_puts_wins(s3_server: Rgw, bucket: str) -> None:
    clients = [s3_server.client() for _ in range(RACERS)]
    with ThreadPoolExecutor(RACERS) as pool:
        for round_number in range(ROUNDS):
            key, barrier = f"snapshot-{round_number}", threading.Barrier(RACERS)

            def race(racer: int, key: str = key, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                body = f"racer {racer}".encode()
                try:
                    clients[racer].put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
                except ClientError as error:
                    return http_status(error)
                return 200

            answers = list(pool.map(race, range(RACERS)))
            assert sorted(answers) == [200] + [412] * (RACERS - 1)
            stored = clients[0].get_object(Bucket=bucket, Key=key)["Body"].read()
            assert stored == f"racer {answers.index(200)}".encode()


def test_postgres_answers(postgres_server: Postgres, database: str) -> None:
    with psycopg.connect(postgres_server.dsn(database)) as connection:
        connection.execute("CREATE TABLE t (k INT PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
    with psycopg.connect(postgres_server.dsn(database)) as connection:
        assert connection.execute("SELECT k FROM t").fetchall() == [(1,)]
