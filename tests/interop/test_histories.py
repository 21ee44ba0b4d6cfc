"""Seeded histories that desilt and the peers play on one table: whoever reads finds the same rows.

A failure names its seed in the test's id and prints the table's shape and every step; run that id
again to see it again. What a peer cannot do is kept out of its histories by `Limits`, each entry
with its reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.canonical import parse_type
from support.histories import History
from support.peers import Peer
from support.players import DESILT, Play
from support.seeds import seeds
from support.shapes import NESTED_TYPES, VALUE_TYPES, Limits, Shape

Peers = dict[str, Peer]

NANOS = frozenset(text for text in VALUE_TYPES if "TIMESTAMP(9)" in text)
SHORT_DECIMALS = frozenset({"DECIMAL(9, 2)", "DECIMAL(18, 3)"})
MULTISETS = frozenset({"MULTISET"})
# Java 0.9 shifts values, or fails, in files of its own, too, where nested columns hold null ROWs,
# ROWs of nulls alone, or NOT NULL parts (the count of a multiset is one).
READ_BY_OLDEST = frozenset({
    "ARRAY<INT>", "ARRAY<ARRAY<DECIMAL(9, 2)>>", "MAP<STRING, INT>",
    "MAP<DATE, ARRAY<DECIMAL(20, 3)>>",
})  # fmt: skip
LOST_ON_OLDEST = frozenset(NESTED_TYPES) - READ_BY_OLDEST

NEWEST = Limits()
# pypaimon's merge cuts nanoseconds off, also in tables that Java alone wrote; it sorts NaN first
# and knows one zero, where Java 2 sorts NaN last and knows two; it cannot write null partitions;
# it hashes -128 as a decimal of two bytes, so such a key would live in two buckets. It knows no
# multisets, and pyarrow refuses a null ROW with NOT NULL fields.
NOT_NULL_FIELDS = frozenset(t for t in NESTED_TYPES if "ROW" in t and "NOT NULL" in t)
PYPAIMON = Limits(
    without_types=NANOS | MULTISETS | NOT_NULL_FIELDS,
    plain_float_keys=True,
    round_decimal_keys=False,
    null_partitions=False,
)
# Java 0.9 has one zero and no NaN in keys either, ignores sequence.field.sort-order, and knows
# no compression "none". It reads INT96 in columns of nanoseconds alone, but pyarrow's encoder
# has one switch for a whole file.
OLDEST = Limits(
    without_types=NANOS | LOST_ON_OLDEST,
    plain_float_keys=True,
    descending=False,
    options={"file.compression": ["", "snappy", "gzip"]},
)
EVERYBODY = replace(OLDEST, round_decimal_keys=False, null_partitions=False)

# fmt: off
BY_JAVA = {
    "java writes": 4, "java compacts": 1, "java compacts fully": 1, "java alters": 1,
    "desilt writes": 1, "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
BY_PYPAIMON = {
    "pypaimon writes": 5, "java compacts": 1, "desilt writes": 1,
    "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
BY_DESILT = {
    "desilt writes": 5, "desilt deletes": 2, "desilt compacts": 2, "desilt compacts fully": 1,
    "java writes": 1, "java compacts": 1,
}
BY_JAVA09 = {
    "java09 writes": 5, "java09 compacts": 1, "desilt writes": 1,
    "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
# fmt: on


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> Peers:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def possible(weights: dict[str, int], shape: Shape) -> dict[str, int]:
    """Without what such a table cannot have done to it.

    The harness asks a writer to compact; Java packs tables without buckets in another way only.
    """
    if shape.keyed:
        return weights
    bucketless = shape.options["bucket"] == "-1"
    return {
        step: weight
        for step, weight in weights.items()
        if step != "desilt deletes"
        and not (bucketless and step.startswith("java") and "compacts" in step)
    }


def plain_merge(shape: Shape) -> bool:
    """Whether Java and pypaimon merge such a table alike (see PYPAIMON for the rest)."""
    nanos = any("TIMESTAMP(9)" in text for text in shape.types)
    keys = {parse_type(shape.columns[name]).root for name in shape.trimmed_keys}
    return not nanos and not keys & {"FLOAT", "DOUBLE"} and not has_multiset(shape)


def has_multiset(shape: Shape) -> bool:
    """pypaimon knows none."""
    return any("MULTISET" in text for text in shape.types)


def oldest_reads(shape: Shape, *, arrow: bool = False) -> bool:
    """Whether Java 0.9 reads such a table; not where Arrow's encoder wrote short decimals."""
    short = any(decimal in text for text in shape.types for decimal in SHORT_DECIMALS)
    lost = any(text.removesuffix(" NOT NULL") in LOST_ON_OLDEST for text in shape.types)
    return plain_merge(shape) and not shape.descending and not (arrow and short) and not lost


def java_goes_on(play: Play) -> None:
    """Java writes and compacts after desilt did, and both read on."""
    final = {"java writes": 1, "java compacts": 1, "java compacts fully": 1}
    for step in possible(final, play.history.shape):
        play.step(step)
    play.check(DESILT, "java")


@pytest.mark.parametrize("seed", seeds(0, 20))
def test_a_table_of_java(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, NEWEST, keyed=seed % 4 != 3)
    play = Play(history, peers, "java", tmp_path)
    play.run(5, possible(BY_JAVA, history.shape))
    play.check("java")
    if plain_merge(history.shape):
        play.check("pypaimon")
    if oldest_reads(history.shape):
        play.check("java09")
    play.check_past(DESILT, "java")
    java_goes_on(play)


@pytest.mark.parametrize("seed", seeds(1000, 16))
def test_a_table_of_pypaimon(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, PYPAIMON, keyed=seed % 4 != 3)
    play = Play(history, peers, "pypaimon", tmp_path)
    play.run(5, possible(BY_PYPAIMON, history.shape))
    play.check("pypaimon", "java")
    play.check_past(DESILT, "pypaimon", "java")
    if oldest_reads(history.shape, arrow=True):
        play.check("java09")
    java_goes_on(play)
    play.check("pypaimon")


@pytest.mark.parametrize("seed", seeds(2000, 20))
def test_a_table_of_desilt(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, EVERYBODY, keyed=seed % 4 != 3)
    play = Play(history, peers, DESILT, tmp_path)
    play.run(5, possible(BY_DESILT, history.shape))
    play.check("java", "java09", "pypaimon")
    play.check_past(DESILT, "java", "java09", "pypaimon")
    # Each spoils the other's reading: short decimals of Arrow, files without _VALUE_STATS_COLS.
    other = "java09" if seed % 2 else "pypaimon"
    play.step(f"{other} writes")
    play.check(DESILT, "java", other)
    java_goes_on(play)
    play.check(other)


@pytest.mark.parametrize("seed", seeds(3000, 12))
def test_a_table_of_the_oldest_java(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, OLDEST, keyed=seed % 4 != 3)
    play = Play(history, peers, "java09", tmp_path)
    play.run(5, possible(BY_JAVA09, history.shape))
    play.check("java09", "java")
    play.check_past(DESILT, "java", "java09")
    java_goes_on(play)
    play.check("java09")
