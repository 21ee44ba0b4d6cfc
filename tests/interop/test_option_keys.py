"""Every table option of the libraries stands in docs/table-options.md."""

from __future__ import annotations

import pytest
from support.option_docs import followed, has_no_effect, refused
from support.peer_streams import option_keys
from support.peers import Peer


@pytest.mark.parametrize("library", ["java", "java09"])
def test_no_option_is_forgotten(request: pytest.FixtureRequest, library: str) -> None:
    peer = request.getfixturevalue(library)
    assert isinstance(peer, Peer)
    told = {*followed(), *refused(), *has_no_effect()}

    known = option_keys(peer)

    assert len(known) > 150
    assert [key for key in known if key not in told] == []
