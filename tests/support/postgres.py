"""A PostgreSQL of the tests' own, on the loopback interface, without passwords."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from .server_process import (
    free_port,
    library_path,
    run_tool,
    running,
    server_folder,
    servers_home,
    wait_until,
)

__all__ = ["Postgres", "postgres"]

USER = "desilt"
# Nothing needs to survive the test, so nothing waits for the disk.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "timezone": "GMT",
    "log_timezone": "GMT",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; its user is a superuser and has no password."""

    host: str
    port: int
    user: str = USER

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database as psycopg takes it."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{database}"

    def jdbc(self, database: str = "postgres") -> str:
        """The address of a database as Java takes it."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{database}?user={self.user}"

    def fresh_database(self, prefix: str = "test") -> str:
        """Makes an empty database and returns its name."""
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return name

    def drop_database(self, name: str) -> None:
        """Drops a database, whoever is connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def postgres() -> Generator[Postgres, None, None]:
    """A server with empty databases, as long as the block lasts."""
    programs = servers_home("postgres-bin")
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    env = {"LD_LIBRARY_PATH": library_path(programs.parents[4])}
    with server_folder("postgres") as folder:
        if user:
            shutil.chown(folder, user)
        _make(programs, folder / "data", user, env)
        server = Postgres("127.0.0.1", free_port())
        settings = [f"--{key}={value}" for key, value in _SETTINGS.items()]
        command = [
            str(programs / "postgres"),
            *("-D", str(folder / "data"), "-p", str(server.port)),
            *settings,
        ]
        log = folder / "postgres.log"
        with running(command, log, user=user, env=env, end_signal="INT") as process:
            wait_until(lambda: _answers(server), process, log)
            yield server


def _make(programs: Path, data: Path, user: str | None, env: dict[str, str]) -> None:
    made = ["-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    run_tool([str(programs / "initdb"), *made], user=user, env=env)


def _answers(server: Postgres) -> bool:
    try:
        psycopg.connect(server.dsn(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
