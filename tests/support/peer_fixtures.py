"""Session-long fixtures of the peers; a run with DESILT_NO_PEERS=1 skips what uses them.

A peer that is merely not set up is an error, never a skip: a forgotten setup must not look like
a green run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .peers import (
    NEWEST,
    OLDEST,
    Peer,
    java_peer,
    new_quick_java_peer,
    peers_disabled,
    pypaimon_peer,
)

__all__ = ["java", "java09", "java_too", "pypaimon"]


def _session(peer: Peer) -> Iterator[Peer]:
    with peer:
        yield peer


def _require_peers() -> None:
    if peers_disabled():
        pytest.skip("DESILT_NO_PEERS is set")


@pytest.fixture(scope="session")
def java() -> Iterator[Peer]:
    """Paimon's Java library, newest version."""
    _require_peers()
    yield from _session(java_peer(NEWEST))


@pytest.fixture(scope="session")
def java_too() -> Iterator[Peer]:
    """Another process of the same library, which shares nothing with `java` but files."""
    _require_peers()
    yield from _session(new_quick_java_peer())


@pytest.fixture(scope="session")
def java09() -> Iterator[Peer]:
    """Paimon's Java library, the oldest version read."""
    _require_peers()
    yield from _session(java_peer(OLDEST))


@pytest.fixture(scope="session")
def pypaimon() -> Iterator[Peer]:
    """The Python library pypaimon, in its own environment."""
    _require_peers()
    yield from _session(pypaimon_peer())
