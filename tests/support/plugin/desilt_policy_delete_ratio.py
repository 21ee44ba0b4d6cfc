"""A policy of a user's own: compact where too many rows are deletes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
import polars as pl

from desilt.policies import VERDICT_SCHEMA


class DeleteRatioConfig(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="kebab",
    tag="delete-ratio",
    tag_field="kind",
):
    """YAML face."""

    ratio_max: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
    """Deletes ÷ rows from which a bucket with two or more runs is due."""


@dataclass(frozen=True, slots=True)
class DeleteRatioPolicy:
    """Score = (deletes ÷ rows) ÷ ratio-max, where two or more runs can be merged."""

    Config: ClassVar[type[DeleteRatioConfig]] = DeleteRatioConfig
    config: DeleteRatioConfig

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        ratio = pl.col("delete_rows") / pl.col("rows").clip(lower_bound=1)
        mergeable = pl.col("keyed") & (pl.col("sorted_runs") >= 2)
        return facts.with_columns(
            score=pl.when(mergeable).then(ratio / self.config.ratio_max).otherwise(0.0)
        ).with_columns(
            action=pl.when(pl.col("score") >= 1)
            .then(pl.lit("compact"))
            .cast(VERDICT_SCHEMA["action"]),
            reason=pl.format(
                "{} of {} rows are deletes, limit {}",
                "delete_rows", "rows", pl.lit(self.config.ratio_max),
            ),
        )  # fmt: skip
