"""A predicate taken apart by what it looks at: partitions, keys, or anything else.

What looks at partition columns alone decides about whole partitions. What looks at primary-key
columns, too, keeps or drops all records of a key alike, so it may be applied before they are
merged. The rest looks at values, which a merge may change.

Nothing here has to be right for a scan to be: whoever reads applies the whole predicate at the end.

Spec: format §8.6; reference class ``MergeFileSplitRead`` (``withFilter``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import polars as pl

from .predicate.parse import conjuncts, parse
from .predicate.tree import All, Tree, columns, understood
from .schema import TableSchema


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One of the expressions that must all be true; ``columns``: those it looks at.

    ``separable``: its value in a row depends on that row alone.
    """

    text: str
    columns: frozenset[str]
    tree: Tree = field(compare=False)
    expr: pl.Expr = field(compare=False, repr=False)
    separable: bool = True

    @property
    def understood(self) -> bool:
        """Whether bounds of columns can rule it out."""
        return understood(self.tree)


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """The conjuncts of a predicate; none: every row passes."""

    conjuncts: tuple[Conjunct, ...]
    partition_keys: frozenset[str]
    primary_keys: frozenset[str]
    trimmed_keys: tuple[str, ...]

    @staticmethod
    def of(predicate: pl.Expr | None, schema: TableSchema) -> ScanFilter:
        """
        Args:
            predicate: as Polars hands it to a scan.
        """
        parts = () if predicate is None else conjuncts(predicate)
        types = schema.polars
        return ScanFilter(
            tuple(
                Conjunct(
                    str(part),
                    frozenset(part.meta.root_names()),
                    parse(part, types),
                    part,
                    part.meta.is_row_separable(),
                )
                for part in parts
            ),
            frozenset(schema.partition_keys),
            frozenset(schema.primary_keys),
            schema.trimmed_keys,
        )

    @property
    def columns(self) -> frozenset[str]:
        """Columns that any conjunct looks at."""
        return frozenset(name for c in self.conjuncts for name in c.columns)

    @property
    def on_partitions(self) -> tuple[Conjunct, ...]:
        """Those that are true or false of whole partitions."""
        return tuple(c for c in self.conjuncts if self._decides_partitions(c))

    @property
    def beyond_partitions(self) -> tuple[Conjunct, ...]:
        """All others."""
        return tuple(c for c in self.conjuncts if not self._decides_partitions(c))

    @property
    def on_keys(self) -> tuple[Conjunct, ...]:
        """Of those, the ones that are true or false of all records of a key alike."""
        if not self.primary_keys:
            return ()
        keys = self.partition_keys.union(self.primary_keys)
        return tuple(c for c in self.beyond_partitions if c.separable and c.columns <= keys)

    def _decides_partitions(self, conjunct: Conjunct) -> bool:
        return conjunct.separable and conjunct.columns <= self.partition_keys

    @property
    def asks_key_ranges(self) -> bool:
        """Whether key ranges may leave files out."""
        keys = set(self.trimmed_keys)
        return any(c.understood and not keys.isdisjoint(columns(c.tree)) for c in self.on_keys)

    @property
    def asks_statistics(self) -> bool:
        """Whether statistics may say what partitions and key ranges do not."""
        known = self.partition_keys.union(self.trimmed_keys[:1])
        return any(c.understood and not columns(c.tree) <= known for c in self.beyond_partitions)


def tree_of(of: Sequence[Conjunct]) -> Tree:
    """All these conjuncts as one tree."""
    return All(tuple(c.tree for c in of))


def together(of: Sequence[Conjunct]) -> pl.Expr | None:
    """All these conjuncts as one expression; None for none."""
    if not of:
        return None
    return reduce(lambda left, right: left & right, (c.expr for c in of))
