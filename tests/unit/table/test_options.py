"""Table options as values, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.builders import catalog, keyed_table
from support.faulty import files_below

from desilt.table.errors import InvalidRequest, UnsupportedFeature
from desilt.table.option_values import parse_size
from desilt.table.options import TableOptions
from desilt.table.options_refused import ABSENT, ONLY, refuse_unsupported

MIB = 1024 * 1024


def keyed(**options: str) -> TableOptions:
    return TableOptions({"bucket": "1", **options}, keyed=True)


def with_option(key: str, value: str) -> TableOptions:
    return TableOptions({"bucket": "1", key: value}, keyed=True)


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17b", 17),
        ("17 bytes", 17),
        ("3k", 3 * 1024),
        ("3 kb", 3 * 1024),
        ("3 KibiBytes", 3 * 1024),
        ("128 mb", 128 * MIB),
        (" 128  MB ", 128 * MIB),
        ("128mebibytes", 128 * MIB),
        ("2g", 2048 * MIB),
        ("2 gb", 2048 * MIB),
        ("1t", MIB * MIB),
        ("1 tebibytes", MIB * MIB),
    ],
)
def test_parse_size_reads_paimons_units(text: str, size: int) -> None:
    assert parse_size(text, "k") == size


@pytest.mark.parametrize("text", ["", "mb", "-1", "1.5 mb", "1 mib", "1 xb", "1 m b", "0x10"])
def test_parse_size_refuses_what_is_no_size_and_names_the_option(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match=r"option=target-file-size, value=") as caught:
        parse_size(text, "target-file-size")
    assert caught.value.context["value"] == text


# --- defaults -----------------------------------------------------------------------------------


def test_defaults_are_paimons() -> None:
    options = keyed()

    assert {
        "target": options.target_file_bytes,
        "trigger": options.trigger,
        "stop": options.stop_trigger,
        "levels": options.levels,
        "amplification": options.size_amplification_percent,
        "ratio": options.size_ratio_percent,
        "min files": options.min_file_num,
        "open cost": options.open_file_cost,
        "compression": (options.compression, options.zstd_level),
        "manifests": (
            options.manifest_target_bytes,
            options.manifest_full_threshold_bytes,
            options.manifest_merge_min_count,
        ),
        "stats": (options.stats_mode, options.dense_stats),
        "partition": (options.default_partition, options.legacy_partition_names),
        "sequence": (options.sequence_fields, options.sequence_descending),
        "prefix": options.data_file_prefix,
    } == {
        "target": 128 * MIB,
        "trigger": 5,
        "stop": 8,
        "levels": 6,
        "amplification": 200,
        "ratio": 1,
        "min files": 5,
        "open cost": 4 * MIB,
        "compression": ("zstd", 1),
        "manifests": (8 * MIB, 16 * MIB, 30),
        "stats": ("truncate(16)", True),
        "partition": ("__DEFAULT_PARTITION__", True),
        "sequence": ((), False),
        "prefix": "data-",
    }


def test_append_tables_have_larger_targets_and_no_buckets() -> None:
    options = TableOptions({}, keyed=False)

    assert options.target_file_bytes == 256 * MIB
    assert options.bucket == -1


def test_small_files_are_seven_tenths_of_the_target() -> None:
    assert keyed(**{"target-file-size": "100 b"}).small_file_bytes == pytest.approx(70)


@pytest.mark.parametrize(
    ("raw", "trigger", "stop", "levels"),
    [
        ({"num-sorted-run.compaction-trigger": "3"}, 3, 6, 4),
        ({"num-sorted-run.stop-trigger": "20"}, 5, 20, 6),
        ({"num-sorted-run.stop-trigger": "2"}, 5, 5, 6),
        ({"num-levels": "3"}, 5, 8, 3),
    ],
    ids=str,
)
def test_triggers_and_levels_follow_each_other(
    raw: Mapping[str, str], trigger: int, stop: int, levels: int
) -> None:
    options = keyed(**raw)

    assert (options.trigger, options.stop_trigger, options.levels) == (trigger, stop, levels)


def test_sequence_fields_are_split_and_trimmed() -> None:
    options = keyed(**{"sequence.field": " a , b,", "sequence.field.sort-order": "Descending"})

    assert options.sequence_fields == ("a", "b")
    assert options.sequence_descending


# --- refused by name ----------------------------------------------------------------------------

REFUSED = [
    *((key, "surprise") for key in sorted(ONLY)),
    *((key, "") for key in sorted(ONLY)),
    *((key, "true") for key, allowed in sorted(ONLY.items()) if allowed == frozenset({"false"})),
    *((key, "anything") for key in ABSENT),
    *(("file.format", f) for f in ("orc", "avro", "lance", "csv")),
    ("manifest.format", "parquet"),
    ("bucket", "-1"),
    ("bucket", "-2"),
    ("bucket", "-3"),
    ("bucket", "0"),
    ("changelog-file.compression", "lzo"),
    ("file.compression", "lzo"),
    ("sequence.field.sort-order", "random"),
]
BAD_VALUES = [
    *(
        (key, value)
        for key in (
            "bucket", "num-levels", "num-sorted-run.compaction-trigger",
            "num-sorted-run.stop-trigger", "compaction.max-size-amplification-percent",
            "compaction.size-ratio", "compaction.min.file-num", "file.compression.zstd-level",
            "manifest.merge-min-count",
        )
        for value in ("", "many", "1.5", "1 000")
    ),
    *(
        (key, value)
        for key in ("target-file-size", "source.split.open-file-cost", "manifest.target-file-size",
                    "manifest.full-compaction-threshold-size")
        for value in ("", "huge", "1.5 mb", "-1 mb")
    ),
    *(
        (key, value)
        for key in ("partition.legacy-name", "metadata.stats-dense-store",
                    "compaction.force-rewrite-all-files", "bucket-append-ordered")
        for value in ("", "yes", "1")
    ),
    ("compaction.small-file-ratio", "half"),
    ("bucket", "2147483648"),
    ("file.compression.zstd-level", "0"),
    ("file.compression.zstd-level", "23"),
    ("commit.max-retries", "often"),
    ("commit.max-retries", "-1"),
    ("metadata.stats-mode", "nonsense"),
    ("changelog-file.stats-mode", "nonsense"),
    ("changelog-file.prefix", "a/b"),
    ("record-level.expire-time", "soon"),
    ("deletion-vectors.enabled", "perhaps"),
    ("ignore-delete", "maybe"),
    ("lookup-compact.max-interval", "often"),
    ("compaction.delete-ratio-threshold", "half"),
    ("metadata.stats-mode", "truncate(0)"),
    ("fields.v.stats-mode", "truncate"),
    ("data-file.prefix", "../x"),
    ("data-file.prefix", "a\\b"),
    ("num-levels", "1"),
    ("num-sorted-run.compaction-trigger", "1"),
    ("num-sorted-run.compaction-trigger", "-5"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [*REFUSED, *BAD_VALUES])
def test_option_is_refused_with_its_name_and_value(key: str, value: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        refuse_unsupported(with_option(key, value))

    assert (caught.value.context["option"], str(caught.value.context["value"])) == (key, value)


@pytest.mark.parametrize("key", sorted(ONLY))
def test_option_with_an_allowed_value_is_accepted_in_any_case(key: str) -> None:
    for value in ONLY[key]:
        refuse_unsupported(with_option(key, f" {value.upper()} "))


@pytest.mark.parametrize(
    "key",
    ["snapshot.time-retained", "write-buffer-size", "consumer.expiration-time", "my.own.option",
     "write-only"],
)  # fmt: skip
def test_option_that_cannot_change_files_is_left_alone(key: str) -> None:
    refuse_unsupported(with_option(key, "whatever"))


@pytest.mark.parametrize(
    ("key", "value"), [("merge-engine", "median"), ("bucket", "-1"), ("num-levels", "many")]
)
def test_table_with_a_refused_option_is_not_made(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(UnsupportedFeature, match=f"option={key}"):
        keyed_table(tmp_path, options={key: value})

    assert files_below(str(tmp_path)) == frozenset()
    assert catalog(tmp_path).tables() == ()


@pytest.mark.parametrize(
    "options",
    [
        {"rowkind.field": "nowhere"},
        {"rowkind.field": "k"},
        {
            "merge-engine": "aggregation",
            "aggregation.remove-record-on-delete": "true",
            "fields.v.ignore-retract": "true",
        },
    ],
    ids=["unknown column", "no text", "contradiction"],
)
def test_what_the_library_refuses_at_the_first_write_is_not_made(
    tmp_path: Path, options: Mapping[str, str]
) -> None:
    with pytest.raises(InvalidRequest):
        keyed_table(tmp_path, options=options)

    assert catalog(tmp_path).tables() == ()
