"""What decides between records of one key: the key, and the order in which records are fed.

Feed order: key, then the user's sequence fields (null smallest, in both directions), then
`_SEQUENCE_NUMBER`, then retracts before adds.

Spec: maintenance §4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ..datatypes import DataType
from ..schema import KEY_PREFIX, KIND, SEQUENCE, TableSchema

ADD_KIND = 0
"""+I."""
UPDATE_BEFORE_KIND = 1
"""-U."""
UPDATE_AFTER_KIND = 2
"""+U."""
DELETE_KIND = 3
"""-D."""
RETRACT_KINDS = (UPDATE_BEFORE_KIND, DELETE_KIND)

LEVEL = "_LEVEL"
"""Level of the file that a record comes from; a column in memory only, where a rule needs it."""


@dataclass(frozen=True, slots=True)
class MergeRule:
    """Column names are those of the frames merged."""

    keys: tuple[str, ...]
    key_types: tuple[DataType, ...]
    sequence_fields: tuple[str, ...] = ()
    sequence_types: tuple[DataType, ...] = ()
    descending: bool = False

    @staticmethod
    def of(schema: TableSchema) -> MergeRule:
        options = schema.options
        fields = options.sequence_fields
        return MergeRule(
            tuple(KEY_PREFIX + k for k in schema.trimmed_keys),
            schema.types(schema.trimmed_keys),
            fields,
            schema.types(fields),
            options.sequence_descending,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns the rule looks at, each once."""
        return tuple(dict.fromkeys((*self.keys, SEQUENCE, KIND, *self.sequence_fields)))


def is_retract(column: str = KIND) -> pl.Expr:
    """True for -U and -D."""
    return pl.col(column).is_in(RETRACT_KINDS)
