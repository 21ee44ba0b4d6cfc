"""The health frame: one row per bucket, the one frame that crosses rooms.

Columns, units and the meaning of null are documented where they are used, in `policies/api.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from .options import TableOptions
from .schema import TableSchema

HEALTH_SCHEMA: dict[str, pl.DataType] = {
    "table": pl.String(),
    "partition": pl.String(),
    "bucket": pl.Int32(),
    "keyed": pl.Boolean(),
    "files": pl.Int64(),
    "small_files": pl.Int64(),
    "level0_files": pl.Int64(),
    "sorted_runs": pl.Int64(),
    "bytes": pl.Int64(),
    "rows": pl.Int64(),
    "delete_rows": pl.Int64(),
    "overlap_bytes": pl.Int64(),
    "write_amplification": pl.Float64(),
    "oldest_level0_age_seconds": pl.Float64(),
    "runs": pl.List(pl.Struct({"level": pl.Int32(), "bytes": pl.Int64()})),
    "packable_files": pl.Int64(),
    "packable_bytes": pl.Int64(),
    "trigger": pl.Int64(),
    "stop_trigger": pl.Int64(),
    "size_amplification_percent": pl.Int64(),
    "size_ratio_percent": pl.Int64(),
    "min_file_num": pl.Int64(),
    "target_file_bytes": pl.Int64(),
    "up_level0": pl.Boolean(),
    "vector_rows": pl.Int64(),
    "max_level": pl.Int32(),
    "commits_since_full": pl.Int64(),
    "full_age_seconds": pl.Float64(),
    "full_commits": pl.Int64(),
    "full_interval_seconds": pl.Float64(),
    "full_below_bytes": pl.Int64(),
    "full_above_bytes": pl.Int64(),
    "full": pl.Boolean(),
}


def health_frame(
    facts: BucketFacts, schema: TableSchema, table: str, *, now_millis: int
) -> pl.DataFrame:
    """One row per bucket with live files, columns of HEALTH_SCHEMA, by partition and bucket.

    Pure; ages are measured to ``now_millis``.
    """
    options = schema.options
    live = facts.live
    if live.height == 0:
        return pl.DataFrame(schema=HEALTH_SCHEMA)
    level0 = pl.col("level") == 0
    base = live.group_by("partition", "bucket").agg(
        files=pl.len(),
        small_files=(pl.col("size_bytes") < options.small_file_bytes).sum(),
        level0_files=level0.sum(),
        bytes=pl.col("size_bytes").sum(),
        rows=pl.col("row_count").sum(),
        delete_rows=pl.col("delete_row_count").fill_null(0).sum(),
    )
    ages = _oldest_level0(live, facts.added, now_millis) if schema.keyed else _no_ages()
    joined = (
        base.join(_runs(live) if schema.keyed else _no_runs(), on=_BUCKET, how="left")
        .join(ages, on=_BUCKET, how="left")
        .join(facts.per_bucket, on=_BUCKET, how="left")
    )
    runs = pl.col("runs").fill_null([])
    frame = joined.with_columns(
        table=pl.lit(table),
        keyed=pl.lit(schema.keyed),
        runs=runs,
        sorted_runs=runs.list.len(),
        trigger=pl.lit(options.trigger),
        stop_trigger=pl.lit(options.stop_trigger),
        size_amplification_percent=pl.lit(options.size_amplification_percent),
        size_ratio_percent=pl.lit(options.size_ratio_percent),
        min_file_num=pl.lit(options.min_file_num),
        target_file_bytes=pl.lit(options.target_file_bytes),
        up_level0=pl.lit(options.forces_level0)
        & (pl.col("level0_files") >= (options.lookup_interval or 0)),
        **_full(options, keyed=schema.keyed, now_millis=now_millis),
    ).drop("partition")
    cast = [
        pl.col(name).cast(dtype) for name, dtype in HEALTH_SCHEMA.items() if name != "partition"
    ]
    labelled = frame.with_columns(pl.col("label").alias("partition"))
    return labelled.with_columns(cast).select(*HEALTH_SCHEMA).sort("partition", "bucket")


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What the health frame is made from.

    ``live``: slim live files. ``added``: columns name, added_millis (snapshot time) of level-0
    files. ``per_bucket``: columns partition, bucket, label, overlap_bytes, packable_files,
    packable_bytes, write_amplification, vector_rows, commits_since_full, full_millis.
    """

    live: pl.DataFrame
    added: pl.DataFrame
    per_bucket: pl.DataFrame


AGES = ("oldest_level0_age_seconds", "full_age_seconds")
"""The columns that change while nothing happens."""


@dataclass(frozen=True, slots=True)
class Health:
    """A health frame, when it was made, and from what: nothing of it but its ages changes since.

    ``made_from``: the snapshot and the schema, which are compared by identity.
    """

    frame: pl.DataFrame
    now_millis: int
    made_from: tuple[object, object] = (None, None)
    _settled: bool = field(init=False)
    """Whether its ages just grow: one of 0 may have been a negative one."""

    def __post_init__(self) -> None:
        least = self.frame.select(pl.min_horizontal(pl.col(AGES).min())).item()
        object.__setattr__(self, "_settled", least is None or least > 0)

    def stands(self, made_from: tuple[object, object], now_millis: int) -> bool:
        """Whether it was made from these very objects, and is only older at that moment."""
        same = all(a is b for a, b in zip(self.made_from, made_from, strict=True))
        later = now_millis == self.now_millis or (self._settled and now_millis > self.now_millis)
        return same and later

    def aged(self, now_millis: int) -> pl.DataFrame:
        """The frame as it would be made at that moment, for which it `stands`."""
        if now_millis == self.now_millis:
            return self.frame
        return self.frame.with_columns(pl.col(AGES) + (now_millis - self.now_millis) / 1000)


def _full(options: TableOptions, *, keyed: bool, now_millis: int) -> dict[str, pl.Expr]:
    """What merging a bucket whole is decided by; the columns runs and full_millis are there."""
    full = options.full
    deepest = pl.col("runs").list.last().struct.field("level")
    top = pl.max_horizontal(deepest, pl.lit(options.levels - 1)) if keyed else pl.lit(0)
    above = pl.col("runs").list.first().struct.field("level").fill_null(top) < top
    age = ((now_millis - pl.col("full_millis")) / 1000).clip(lower_bound=0.0)
    interval = full.interval_millis
    return {
        "max_level": top,
        # What is above was appended some time, whatever was seen of it.
        "commits_since_full": pl.when(above)
        .then(pl.max_horizontal("commits_since_full", pl.lit(1)))
        .otherwise(0),
        "full_age_seconds": pl.when(keyed).then(age),
        "full_commits": pl.lit(full.commits if keyed else None),
        "full_interval_seconds": pl.lit(None if interval is None or not keyed else interval / 1000),
        "full_below_bytes": pl.lit(full.below_bytes if keyed else None),
        "full_above_bytes": pl.lit(full.above_bytes if keyed else None),
        "full": pl.lit(False),
    }


_BUCKET = ["partition", "bucket"]
_RUN = HEALTH_SCHEMA["runs"]


def _no_runs() -> pl.DataFrame:
    return pl.DataFrame(schema={"partition": pl.Binary(), "bucket": pl.Int32(), "runs": _RUN})


def _no_ages() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "partition": pl.Binary(),
            "bucket": pl.Int32(),
            "oldest_level0_age_seconds": pl.Float64(),
        }
    )


def _runs(live: pl.DataFrame) -> pl.DataFrame:
    """Per bucket its runs, newest first (maintenance §1)."""
    order = ["level", "max_sequence", "min_sequence", "creation_millis", "name"]
    level0 = live.filter(pl.col("level") == 0).select(*_BUCKET, *order, bytes="size_bytes")
    above = (
        live.filter(pl.col("level") > 0)
        .group_by(*_BUCKET, "level")
        .agg(bytes=pl.col("size_bytes").sum())
    )
    together = pl.concat([level0, above], how="diagonal_relaxed")
    ordered = together.sort(order, descending=[False, True, False, False, False])
    return ordered.group_by(_BUCKET, maintain_order=True).agg(
        runs=pl.struct(pl.col("level").cast(pl.Int32), pl.col("bytes").cast(pl.Int64))
    )


def _oldest_level0(live: pl.DataFrame, added: pl.DataFrame, now_millis: int) -> pl.DataFrame:
    level0 = live.filter(pl.col("level") == 0).join(added, on="name", how="left")
    age = (now_millis - pl.col("added_millis").min()) / 1000
    return level0.group_by(_BUCKET).agg(
        oldest_level0_age_seconds=pl.max_horizontal(age, pl.lit(0.0))
    )
