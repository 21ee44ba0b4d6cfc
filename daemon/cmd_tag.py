"""`desilt tag …`: make, delete, rename, replace, list and expire a table's tags, by hand.

Beside writers and other engines; each may be interrupted at any moment. A table's rows are not
looked at, so tags of tables that desilt does not compact can be changed, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated

import typer

from ..table.errors import naming
from ..table.handle import TableHandle
from ..table.options_tags import retention
from ..table.tagging.auto import AutoTags, auto_tags, plan_auto_tags
from ..table.tagging.delete import TagsDeleted, delete_tags
from ..table.tagging.deletion import TagDeletion, plan_deletion
from ..table.tagging.edit import (
    NewTag,
    apply_renaming,
    apply_replacement,
    apply_tag,
    plan_renaming,
    plan_replacement,
    plan_tag,
)
from ..table.tagging.expire import expire_tags, plan_tag_expiry
from ..table.tagging.settings import OVERRIDABLE
from ..table.tags import Tag, read_tags, tag_times
from .catalogs import Where
from .console import finish, print_json, print_rows
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse
from .times import parse_moment, parsed
from .units import parse_duration

Name = Annotated[str, typer.Option("--name", help="The tag.")]
Snapshot = Annotated[
    int | None, typer.Option("--snapshot", min=1, help="Which snapshot; the latest by default.")
]
Retain = Annotated[
    str | None, typer.Option("--retain", help="How long the tag stays, as 90m, 12h or 7d.")
]

tags = typer.Typer(
    help="Make, delete, rename, replace, list and expire tags.", no_args_is_help=True
)


def _on(where: Where, table: str, act: Callable[[TableHandle], int]) -> None:
    """Run ``act`` on the table, and end with its exit code."""

    def command() -> int:
        handle = where.open().handle(table)
        with naming(handle.name):
            return act(handle)

    finish(command)


@tags.command("create")
def create(
    table: OneTable,
    name: Name,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    snapshot: Snapshot = None,
    retain: Retain = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Tag a snapshot; the table's option says how long the tag stays unless --retain does."""

    def act(handle: TableHandle) -> int:
        plan = plan_tag(handle, name, snapshot, _retained(retain))
        if not dry_run:
            apply_tag(plan, handle)
        return _print_new(plan, dry_run=dry_run, as_json=as_json)

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("delete")
def delete(
    table: OneTable,
    name: Annotated[list[str], typer.Option("--name", help="The tag; may come several times.")],
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete tags, and the files that nobody else can reach."""

    def act(handle: TableHandle) -> int:
        if dry_run:
            return _print_deletion(plan_deletion(handle, name), as_json=as_json)
        started = time.monotonic()
        return _print_deleted(handle, delete_tags(handle, name), started, as_json=as_json)

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("rename")
def rename(
    table: OneTable,
    name: Name,
    to: Annotated[str, typer.Option("--to", help="Its new name.")],
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give a tag another name."""

    def act(handle: TableHandle) -> int:
        plan = plan_renaming(handle, name, to)
        if not dry_run:
            apply_renaming(plan, handle)
        return _print_record(plan.as_dict(), dry_run=dry_run, as_json=as_json)

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("replace")
def replace(
    table: OneTable,
    name: Name,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    snapshot: Snapshot = None,
    retain: Retain = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let a tag show another snapshot; without --retain it stays until it is deleted."""

    def act(handle: TableHandle) -> int:
        plan = plan_replacement(handle, name, snapshot, _retained(retain))
        if not dry_run:
            apply_replacement(plan, handle)
        return _print_record(plan.as_dict(), dry_run=dry_run, as_json=as_json)

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("list")
def list_tags(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """All tags, by snapshot; times of tags are local, as Paimon writes them."""

    def act(handle: TableHandle) -> int:
        written = tag_times(handle)
        rows = [_row(tag, written.get(tag.name)) for tag in read_tags(handle)]
        if as_json:
            print_json({"table": handle.name, "tags": rows})
        else:
            columns = ("tag", "snapshot_id", "snapshot_millis", "rows", "created", "retained")
            print_rows(columns, [[row[column] for column in columns] for row in rows])
        return 0

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("expire")
def expire(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Also what is older, as 2026-11-22T10:00; UTC."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete tags whose retention has passed, and the files that nobody else can reach."""

    def act(handle: TableHandle) -> int:
        millis = None if older_than is None else parse_moment("--older-than", older_than)
        if dry_run:
            plan = plan_tag_expiry(handle, older_than_millis=millis)
            return _print_deletion(plan, as_json=as_json)
        started = time.monotonic()
        result = expire_tags(handle, older_than_millis=millis)
        return _print_deleted(handle, result, started, as_json=as_json)

    _on(Where(warehouse, config, catalog), table, act)


@tags.command("auto")
def auto(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE in place of the table's own; may come often."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the tags that the table's options tag.automatic-creation and kin ask for."""

    def act(handle: TableHandle) -> int:
        overrides = _overrides(option or [])
        if dry_run:
            return _print_auto(plan_auto_tags(handle, overrides), as_json=as_json)
        result = auto_tags(handle, overrides)
        deleted = () if result.deleted is None else result.deleted.names
        if as_json:
            print_json({"table": handle.name, "made": result.made, "trimmed": deleted})
        elif not result.made and not deleted:
            print("nothing to tag")
        else:
            print_rows(("tag", "is"), [(n, "made") for n in result.made] + _gone(deleted))
        return 0

    _on(Where(warehouse, config, catalog), table, act)


# --- reading arguments, printing results ----------------------------------------------------------


def _retained(text: str | None) -> timedelta | None:
    if text is None:
        return None
    return retention(int(parsed("--retain", lambda: parse_duration(text)) * 10**6))


def _overrides(given: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or key not in OVERRIDABLE:
            known = ", ".join(sorted(OVERRIDABLE))
            raise UsageError(f"--option: {text!r} is no KEY=VALUE of {known}")
        found[key] = value
    return found


def _print_new(plan: NewTag, *, dry_run: bool, as_json: bool) -> int:
    return _print_record(plan.as_dict(), dry_run=dry_run, as_json=as_json)


def _print_record(record: dict[str, object], *, dry_run: bool, as_json: bool) -> int:
    if as_json:
        print_json({**record, "dry_run": dry_run})
    else:
        flat = {k: v for k, v in record.items() if not isinstance(v, dict | list)}
        print_rows(list(flat), [list(flat.values())])
    return 0


def _print_deletion(plan: TagDeletion, *, as_json: bool) -> int:
    if as_json:
        print_json({**plan.as_dict(files=True), "dry_run": True})
        return 0
    if not plan.going:
        print("nothing to delete")
        return 0
    rows = [(t.name, t.snapshot_id, t.alone) for t in plan.going]
    print_rows(("tag", "snapshot_id", "no file goes with it because"), rows)
    counts = [(kind, count) for kind, count in plan.counts().items() if count]
    if counts:
        print_rows(("files", "count"), counts)
    if plan.protections:
        held = [(p.holder, p.files, p.size_bytes) for p in plan.protections]
        print_rows(("kept for", "files", "bytes"), held)
    return 0


def _print_deleted(
    handle: TableHandle, result: TagsDeleted, started: float, *, as_json: bool
) -> int:
    row: dict[str, object] = {
        "table": handle.name,
        "tags": list(result.names),
        "files": result.files,
        "size_bytes": result.size_bytes,
        "kept": result.kept,
        "seconds": time.monotonic() - started,
    }
    if as_json:
        print_json(row)
    elif not result.names:
        print("nothing to delete")
    else:
        shown = {**row, "tags": ", ".join(result.names), "files": result.files_total}
        print_rows(list(shown), [list(shown.values())])
    return 0


def _print_auto(plan: AutoTags, *, as_json: bool) -> int:
    if as_json:
        print_json({**plan.as_dict(), "dry_run": True})
    elif plan.empty:
        print("nothing to tag")
    else:
        made = [(new.name, f"snapshot {new.snapshot_id}") for new in plan.made]
        print_rows(("tag", "is"), made + _gone(plan.trimmed))
    return 0


def _gone(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, "one too many") for name in names]


def _row(tag: Tag, written: int | None) -> dict[str, object]:
    created: datetime | None = tag.created
    return {
        "tag": tag.name,
        "snapshot_id": tag.snapshot.id,
        "snapshot_millis": tag.snapshot.time_millis,
        "rows": tag.snapshot.total_record_count,
        "created": None if created is None else created.isoformat(timespec="milliseconds"),
        "retained": None if tag.retained is None else tag.retained.total_seconds(),
        "file_millis": written,
    }
