"""docs/table-options.md says of every option what the code does with it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from support.builders import KEYED_COLUMNS, catalog
from support.option_docs import followed, has_no_effect, refused, refused_for_expiry

from desilt.table import retention
from desilt.table.errors import UnsupportedFeature
from desilt.table.options import TableOptions
from desilt.table.options_refused import ABSENT, ONLY, refuse_unsupported

ROOT = Path(__file__).parents[3]
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "table").rglob("*.py")))
PATTERNS = {
    "file-index.<kind>.columns": "file-index.bloom-filter.columns",
    "fields.<column>.map.storage-layout": "fields.v.map.storage-layout",
}
"""Options that bear another name in each table, with an example."""
WORDS = {"path"}
"""Options whose names stand for other things in the code."""
EXPIRY_ALONE = {"global-index.external-path"}


def keyed(key: str, value: str) -> TableOptions:
    return TableOptions({"bucket": "1", key: value}, keyed=True)


def test_an_option_is_named_once() -> None:
    several = {key for key, allowed in ONLY.items() if len(allowed) > 1}

    told = Counter([*followed(), *(set(refused()) - several), *has_no_effect()])

    assert [key for key, count in told.items() if count > 1] == []
    assert several <= set(followed())


def test_refused_options_are_those_of_the_code() -> None:
    told = {key: values for key, values in refused().items() if key not in EXPIRY_ALONE}

    assert {key: values for key, values in told.items() if key in ONLY} == ONLY
    assert set(told) - set(ONLY) - set(PATTERNS) == set(ABSENT)


def test_options_refused_for_expiry_are_those_of_the_code() -> None:
    assert refused_for_expiry() == {*retention.REFUSED_VALUES, *retention.REFUSED_OPTIONS}


@pytest.mark.parametrize("key", sorted(set(refused()) - EXPIRY_ALONE))
def test_a_refused_option_is_refused(key: str) -> None:
    named = PATTERNS.get(key, key)

    with pytest.raises(UnsupportedFeature, match=f"option={named}, value=true-ish"):
        refuse_unsupported(keyed(named, "true-ish"))


@pytest.mark.parametrize("key", followed())
def test_a_followed_option_is_read_somewhere(key: str) -> None:
    older = re.sub(r"^.+\.(?=ignore-delete$)", "{engine}.", key)

    assert key in SOURCE or older in SOURCE


@pytest.mark.parametrize("key", sorted(set(has_no_effect()) - WORDS))
def test_an_option_without_effect_is_read_nowhere(key: str) -> None:
    assert f'"{key}"' not in SOURCE


def test_a_table_may_have_all_options_without_effect(tmp_path: Path) -> None:
    options = dict.fromkeys(has_no_effect(), "whatever") | {"bucket": "1"}

    table = catalog(tmp_path).create_table(
        "db.t", KEYED_COLUMNS, primary_key=["k"], options=options
    )

    assert table.schema.raw_options == options
    assert table.scan().collect().is_empty()
