"""What to do with the files of a keyed bucket: pick runs, and treat each file of them."""

from __future__ import annotations

from collections.abc import Sequence

from .compaction_rules import CompactionRules, Wrapper
from .datatypes import DataType
from .decision import Bucket, Decision, PlanOptions, RewritePlan
from .errors import UnsupportedFeature
from .lsm.pick import Growth, Pick, PickOptions, RunSize, pick_full, pick_universal
from .lsm.run import LevelRun, LsmFile, level_runs, lsm_file
from .lsm.section import Section, Treatment, TreatOptions, alone, treat
from .manifest.entry import DataFile
from .options import TableOptions


def pick_options(options: TableOptions, runs: Sequence[LevelRun], growth: Growth) -> PickOptions:
    """The table's options for picking; levels that hold files always count."""
    deepest = max((r.level for r in runs), default=0)
    return PickOptions(
        trigger=options.trigger,
        size_amplification_percent=options.size_amplification_percent,
        size_ratio_percent=options.size_ratio_percent,
        max_level=max(options.levels - 1, deepest),
        growth=growth,
        up_level0=forces_level0(options, sum(1 for r in runs if r.level == 0)),
    )


def forces_level0(options: TableOptions, level0_files: int) -> bool:
    """Whether level 0 is to be moved up although no other rule picks it."""
    if not options.forces_level0 or not level0_files:
        return False
    return options.lookup_interval is None or level0_files >= options.lookup_interval


def bucket_runs(files: Sequence[DataFile], key_types: tuple[DataType, ...]) -> tuple[LevelRun, ...]:
    return level_runs([lsm_file(f, key_types) for f in files])


def decide_keyed(bucket: Bucket, options: PlanOptions) -> Decision | None:
    """What a compaction would do; None when nothing is due."""
    schema = bucket.schema
    runs = bucket_runs(bucket.files, schema.types(schema.trimmed_keys))
    sizes = [RunSize(r.level, r.size_bytes) for r in runs]
    picking = options.limit(pick_options(schema.options, runs, options.growth))
    pick = pick_full(sizes, picking) if options.mode == "full" else pick_universal(sizes, picking)
    if pick is None:
        return None
    rules = CompactionRules.of(schema)
    _refuse_levels(rules, schema.options, picking)
    treatment = _treatment(runs, pick, picking, bucket, rules, full=options.mode == "full")
    # Over all files of the bucket, not only the inputs.
    drop = rules.drops_deletes(pick.output_level, max(r.level for r in runs))
    rewrites = _rewrites(treatment, pick.output_level, picking.max_level, rules, drop=drop)
    upgrades = (*treatment.upgrades, *treatment.scans)
    looks_up = any(r.wrapper in (Wrapper.LOOKUP, Wrapper.FIRST_ROW) for r in rewrites)
    return Decision(
        upgrades=tuple(f.file.name for f in upgrades),
        rewrites=rewrites,
        output_level=pick.output_level,
        max_level=picking.max_level,
        reason=pick.reason,
        lookups=_lookups(runs, pick, rewrites) if looks_up else (),
    )


def _refuse_levels(rules: CompactionRules, options: TableOptions, picking: PickOptions) -> None:
    """Java takes its highest level from the option alone, and files may lie above (§1)."""
    if rules.producer == "full-compaction" and picking.max_level > options.levels - 1:
        raise UnsupportedFeature(
            "files lie above num-levels with this changelog producer", option="num-levels",
            value=options.levels, level=picking.max_level,
        )  # fmt: skip


def _treatment(
    runs: Sequence[LevelRun],
    pick: Pick,
    picking: PickOptions,
    bucket: Bucket,
    rules: CompactionRules,
    *,
    full: bool,
) -> Treatment:
    options = bucket.schema.options
    picked: list[LsmFile] = [f for run in runs[: pick.count] for f in run.files]
    if full and len(runs) == 1 and runs[0].level == picking.max_level:
        # Everything is where it belongs: only files with something to lose, each by itself.
        losing = [
            f
            for f in picked
            if options.force_rewrite_all
            or f.file.name in bucket.expired
            or bucket.deleted.get(f.file.name, 0)
        ]
        return Treatment(rewrites=tuple((alone(f),) for f in losing))
    return treat(
        picked,
        TreatOptions(
            output_level=pick.output_level,
            max_level=picking.max_level,
            small_file_bytes=options.small_file_bytes,
            force_rewrite=options.force_rewrite_all,
            rules=rules,
            expired=lambda file: file.name in bucket.expired,
        ),
    )


def _rewrites(
    treatment: Treatment, output_level: int, max_level: int, rules: CompactionRules, *, drop: bool
) -> tuple[RewritePlan, ...]:
    def made(sections: Sequence[Section], *, drops: bool, writes: bool = True) -> RewritePlan:
        return _rewrite(sections, output_level, max_level, rules, drops=drops, writes=writes)

    return (
        *(made(sections, drops=drop) for sections in treatment.rewrites),
        # Java drops no deletes here but where vectors mark what they delete.
        *(made([alone(f)], drops=rules.deletion_vectors) for f in treatment.forced),
        *(made([alone(f)], drops=False, writes=False) for f in treatment.scans),
    )


def _rewrite(
    sections: Sequence[Section],
    output_level: int,
    max_level: int,
    rules: CompactionRules,
    *,
    drops: bool,
    writes: bool,
) -> RewritePlan:
    has_level0 = any(f.file.level == 0 for s in sections for f in s.files)
    wrapper = rules.wrapper(output_level, max_level, has_level0=has_level0)
    return RewritePlan(
        sections=tuple(tuple(tuple(f.file.name for f in run) for run in s.runs) for s in sections),
        # What is a retract never reaches the highest level with this producer.
        drop_deletes=drops or (wrapper is Wrapper.FULL and writes),
        wrapper=wrapper,
        writes=writes,
        changelog=wrapper is not Wrapper.PLAIN and rules.writes_changelog,
    )


def _lookups(
    runs: Sequence[LevelRun], pick: Pick, rewrites: Sequence[RewritePlan]
) -> tuple[str, ...]:
    """Files above the output level whose keys meet those of a rewrite that looks keys up."""
    wanted = {
        name
        for r in rewrites
        if r.wrapper in (Wrapper.LOOKUP, Wrapper.FIRST_ROW)
        for name in r.names
    }
    inputs = [f for run in runs[: pick.count] for f in run.files if f.file.name in wanted]
    low, high = min(f.low for f in inputs), max(f.high for f in inputs)
    return tuple(
        f.file.name
        for run in runs
        if run.level > pick.output_level
        for f in run.files
        if f.low <= high and low <= f.high
    )
