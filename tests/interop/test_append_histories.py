"""Append tables that desilt and Java write, delete from by vectors and pack, in random turns.

A failure prints the seed's steps; run that id again to see it again.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.peers import Peer
from support.plays import play_append
from support.seeds import seeds


@pytest.mark.parametrize("seed", seeds(0, 12))
def test_rows_survive_until_they_are_deleted(
    java: Peer, pypaimon: Peer, tmp_path: Path, seed: int
) -> None:
    play_append(seed, {"java": java, "pypaimon": pypaimon}, tmp_path)
