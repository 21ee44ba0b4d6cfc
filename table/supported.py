"""What this release does with a table, checked as a whole: schema, options, engine.

Everything that changes the meaning of files and is not understood is refused by name, before the
first file is read.

Spec: format §2.6, maintenance §0, §5.1, §6.1; reference class ``SchemaValidation``.
"""

from __future__ import annotations

from .errors import InvalidRequest
from .merge.engine import engine_of
from .record_expiry import RecordExpiry
from .row_kinds import check_kind_column
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
        RecordExpiry.of(schema, 0)
        check_kind_column(schema)
    _check_combination(schema)


def _check_combination(schema: TableSchema) -> None:
    options = schema.options
    producer, engine = options.changelog_producer, options.merge_engine
    if not schema.keyed and producer != "none":
        raise InvalidRequest(
            "a changelog needs a primary key", option="changelog-producer", value=producer
        )
    if schema.keyed and engine == "first-row" and producer not in ("none", "lookup"):
        raise InvalidRequest(
            "first-row takes no such changelog producer", option="changelog-producer",
            value=producer,
        )  # fmt: skip
    if options.deletion_vectors and producer == "full-compaction":
        raise InvalidRequest(
            "deletion vectors take no such changelog producer", option="changelog-producer",
            value=producer,
        )  # fmt: skip
    if options.deletion_vectors and schema.keyed and engine == "first-row":
        raise InvalidRequest(
            "first-row takes no deletion vectors", option="deletion-vectors.enabled", value="true"
        )
