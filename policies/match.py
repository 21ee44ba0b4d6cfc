"""Which rule of the YAML decides about a table: the most specific pattern that matches it.

A pattern is ``*`` (every table), ``db.table`` or ``catalog.db.table``; each part is a glob of its
own (``*``, ``?``, ``[abc]``, upper and lower case differ), so ``rec.*`` never means a catalog.

More specific is, in this order:

1. a pattern without wildcards;
2. more literal characters (dots not counted, ``[abc]`` is one wildcard);
3. fewer wildcards;
4. the earlier one in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from .errors import PolicyConfigError

_WILDCARD = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")


class HasMatch(Protocol):
    """A rule of the YAML, as far as matching is concerned."""

    @property
    def match(self) -> str: ...


Rule = TypeVar("Rule", bound=HasMatch)


def best_rule(rules: Sequence[Rule], *, catalog: str, table: str) -> Rule | None:
    """The most specific rule for ``table`` ("db.table") of ``catalog``; None when none matches.

    Args:
        rules: in the order of the file; patterns that `check_pattern` accepts.
    """
    matching = [rule for rule in rules if matches(rule.match, catalog=catalog, table=table)]
    return max(matching, key=lambda rule: specificity(rule.match), default=None)


def matches(pattern: str, *, catalog: str, table: str) -> bool:
    """Whether ``pattern`` covers the table "db.table" of the catalog."""
    if pattern == "*":
        return True
    database, _, name = table.partition(".")
    parts = pattern.split(".")
    names = [database, name] if len(parts) == 2 else [catalog, database, name]
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))


def specificity(pattern: str) -> tuple[bool, int, int]:
    """Orders patterns: the larger, the more specific."""
    wildcards = len(_WILDCARD.findall(pattern))
    literals = len(_WILDCARD.sub("", pattern).replace(".", ""))
    return (wildcards == 0, literals, -wildcards)


def check_pattern(pattern: str) -> None:
    """Accept a pattern that can match a table.

    Raises:
        PolicyConfigError: ``match`` is neither ``*`` nor two or three parts, or a part is empty.
    """
    parts = pattern.split(".")
    if pattern == "*" or (len(parts) in (2, 3) and all(parts)):
        return
    raise PolicyConfigError("match", f"not *, db.table or catalog.db.table: {pattern!r}")
