"""A table's options for tags, with what somebody put in their place."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidRequest
from ..option_values import OptionValues
from ..options_tags import TagOptions
from ..schema import TableSchema

OVERRIDABLE = frozenset(
    {
        "tag.automatic-creation", "tag.creation-period", "tag.creation-period-duration",
        "tag.creation-delay", "tag.period-formatter", "tag.num-retained-max",
        "tag.default-time-retained", "tag.automatic-completion", "tag.create-success-file",
        "tag.time-expire-enabled", "tag.batch.customized-name", "sink.process-time-zone",
        "sink.watermark-time-zone",
    }
)  # fmt: skip


def tag_options(schema: TableSchema, overrides: Mapping[str, str] | None = None) -> TagOptions:
    """The table's options with the overrides in their place.

    Raises:
        InvalidRequest: an override of something else.
        UnsupportedFeature: a value that is none, named.
    """
    given = dict(overrides or {})
    unknown = sorted(set(given) - OVERRIDABLE)
    if unknown:
        raise InvalidRequest("not an option of tags", option=unknown[0])
    options = TagOptions(OptionValues({**schema.raw_options, **given}))
    options.check()
    return options
