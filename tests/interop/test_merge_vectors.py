"""The worked examples of merging against the library and the plain model."""

from __future__ import annotations

import pytest
from support.engine_model import Record, merge
from support.merge_vectors import VECTORS, Vector
from support.peer_streams import MergeCase, merge_by
from support.peers import Peer


def plain(vector: Vector, record: Record | None) -> Record | None:
    return None if record is None else vector.rules.plain(record)


BY_NAME = {vector.name: vector for vector in VECTORS}


def test_vectors_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=list(BY_NAME))
def test_the_model_merges_the_vector(vector: Vector) -> None:
    assert merge(vector.rules, vector.records) == vector.result


@pytest.mark.parametrize("vector", VECTORS, ids=list(BY_NAME))
def test_the_library_merges_the_vector(java: Peer, vector: Vector) -> None:
    (merged,) = merge_by(java, vector.rules, [MergeCase(vector.records)])

    assert merged.error is None
    assert plain(vector, merged.result) == plain(vector, vector.result)
