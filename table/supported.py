"""What this release does with a table, checked as a whole: schema, options, engine.

Everything that changes the meaning of files and is not understood is refused by name, before the
first file is read.
"""

from __future__ import annotations

from .merge.engine import engine_of
from .schema import TableSchema, check_supported


def check_table(schema: TableSchema) -> None:
    """Pass a table that desilt can read, write and compact.

    Raises:
        UnsupportedFeature: naming the option, function or type.
        InvalidRequest: options that contradict each other.
    """
    check_supported(schema)
    if schema.keyed:
        engine_of(schema)
