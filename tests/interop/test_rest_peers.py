"""The peers over a REST catalog: what our own tests of one presume."""

from __future__ import annotations

import pytest
from support.peers import Peer, PeerError
from support.rest_server import RestServer

COLUMNS = {"k": "INT NOT NULL", "v": "STRING"}


def test_java_and_pypaimon_share_a_rest_catalog(
    rest_catalog: RestServer, java: Peer, java_too: Peer, pypaimon: Peer
) -> None:
    options = rest_catalog.paimon_options()
    one, two, python = (peer.in_catalog(options) for peer in (java, java_too, pypaimon))
    table = one.create_table("", "t", COLUMNS, primary_keys=["k"], options={"bucket": "1"})
    assert one.insert(table, [[1, "a"], [2, "b"]]) == [1]
    assert two.insert(table, [[2, "c"]]) == [2]
    merged = [[1, "a"], [2, "c"]]
    assert one.read(table)["rows"] == two.read(table)["rows"] == merged
    assert python.read(table)["rows"] == merged
    assert two.alter(table, [{"op": "add", "name": "w", "type": "INT"}]) == 1
    assert one.compact(table) == [3]
    assert [snapshot["kind"] for snapshot in python.snapshots(table)][-1] == "COMPACT"
    assert sorted(path.name for path in rest_catalog.folder.rglob("snapshot-*")) == [
        "snapshot-1",
        "snapshot-2",
        "snapshot-3",
    ]


def test_a_wrong_token_is_refused(rest_catalog: RestServer, java: Peer) -> None:
    options = rest_catalog.paimon_options(token="wrong")
    with pytest.raises(PeerError, match="NotAuthorized"):
        java.in_catalog(options).create_table("", "t", COLUMNS)
