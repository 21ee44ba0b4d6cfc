"""Documents say what is there: commands, flags, keys, metrics, alerts, files and tests."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import typer.main
import yaml
from prometheus_client import CollectorRegistry

from desilt.daemon import config
from desilt.daemon.cli import app
from desilt.daemon.metrics import MetricsListener
from desilt.daemon.store_metrics import add_store_metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def everything() -> str:
    """README and docs as one text."""
    return "\n".join(path.read_text() for path in DOCUMENTS)


def listed() -> list[str]:
    """Tracked files, and new ones that are not ignored; without git, everything but leftovers."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", "build", "dist", ".git", "__pycache__", "target", ".hypothesis"}
        paths = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        return sorted(p.as_posix() for p in paths if not skipped & set(p.parts))
    return sorted(n for n in output.stdout.splitlines() if (ROOT / n).is_file())


# --- the command line ---------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Click commands by name, those of groups behind the group's (Typer brings a click of its own,
    whose types are not public)."""
    found: dict[str, Any] = {}
    for name, command in dict(cast("Any", typer.main.get_command(app)).commands).items():
        below: dict[str, Any] = getattr(command, "commands", {})
        found |= {f"{name} {verb}": one for verb, one in below.items()} or {name: command}
    return found


def flags() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name, command in commands().items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    ]


@pytest.mark.parametrize("name", sorted(commands()))
def test_command_is_documented(name: str) -> None:
    assert f"desilt {name}" in everything()


@pytest.mark.parametrize(("name", "flag"), flags())
def test_flag_is_documented_with_its_command(name: str, flag: str) -> None:
    """On a line that names the command, too; `-c` will do for `--config`, and WHERE for the flags
    that choose a catalog, which have a line of their own."""
    where = re.compile(r"^`WHERE` .*--warehouse.* -c FILE .*--catalog", re.MULTILINE)
    assert where.search(everything())
    wanted = re.compile(rf"(?<![\w-]){re.escape(flag)}(?![\w-])")
    lines = [line for line in everything().splitlines() if f"desilt {name}" in line]
    short = flag == "--config" and any(" -c" in line for line in lines)

    placed = flag in ("--warehouse", "-c", "--config", "--catalog")
    placed = placed and any("WHERE" in line for line in lines)

    assert short or placed or any(wanted.search(line) for line in lines), f"desilt {name} {flag}"


# --- the configuration --------------------------------------------------------------------------


def keys() -> list[str]:
    structs = [
        value
        for value in vars(config).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == config.__name__
    ]
    return sorted({f.encode_name for s in structs for f in msgspec.structs.fields(s)})


@pytest.mark.parametrize("key", keys())
def test_configuration_key_is_documented(key: str) -> None:
    assert f"| `{key}` |" in (ROOT / "docs/configuration.md").read_text()


def test_packaged_example_equals_the_documented_one() -> None:
    """An installed `desilt demo` has only the packaged one."""
    assert (ROOT / "daemon/desilt.yaml").read_bytes() == (
        ROOT / "examples/desilt.yaml"
    ).read_bytes()


def test_example_is_a_good_configuration() -> None:
    assert config.load(ROOT / "examples/desilt.yaml").catalogs


# --- metrics and alerts -------------------------------------------------------------------------


def metrics() -> list[str]:
    """Names as scraped: counters end in ``_total``."""
    registry = CollectorRegistry()
    MetricsListener(registry)
    add_store_metrics(registry)
    return sorted(
        {
            metric.name + ("_total" if metric.type == "counter" else "")
            for metric in registry.collect()
            if metric.name.startswith("desilt_")
        }
    )


@pytest.mark.parametrize("name", metrics())
def test_metric_is_documented(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs/metrics.md").read_text()


def test_documented_metrics_exist() -> None:
    documented = set(re.findall(r"^\| `(desilt_\w+)` \|", everything(), re.MULTILINE))

    assert documented == set(metrics())


def alerts() -> list[str]:
    groups = yaml.safe_load((ROOT / "dashboards/alerts.yaml").read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("name", alerts())
def test_alert_has_a_runbook_and_is_listed(name: str) -> None:
    assert (ROOT / "docs/runbooks" / f"{name}.md").read_text().startswith(f"# {name}")
    assert name in (ROOT / "dashboards/README.md").read_text()


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {p.stem for p in (ROOT / "docs/runbooks").glob("*.md")} == set(alerts())


# --- names of files -----------------------------------------------------------------------------


def named_in(document: Path) -> list[str]:
    """Paths in back quotes that look like files of this repository."""
    quoted = re.findall(r"`([\w./-]+)`", document.read_text())
    first = re.compile(r"(table|policies|daemon|tests|docs|helm|dashboards|scripts|examples)/")
    return sorted({q for q in quoted if first.match(q)})


@pytest.mark.parametrize(
    "document",
    [p for p in DOCUMENTS if named_in(p)],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_files_named_in_a_document_exist(document: Path) -> None:
    missing = [name for name in named_in(document) if not (ROOT / name).exists()]

    assert missing == []


def test_functions_named_in_the_spec_map_exist() -> None:
    rows = re.findall(r"`((?:table|tests)/[\w/]+\.py)` ((?:`[\w.]+`(?:, )?)+)", _spec_map())
    assert rows
    for path, names in rows:
        source = (ROOT / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            last = name.rpartition(".")[2]
            assert re.search(rf"\b(def|class) {last}\b", source), f"{path} {name}"


def test_every_rule_of_the_spec_map_names_a_test() -> None:
    rows = [line for line in _spec_map().splitlines() if line.startswith(("| F §", "| M §"))]

    assert rows
    assert all("`tests/" in row.split("|")[3] for row in rows if row.count("|") == 4)


def _spec_map() -> str:
    whole = (ROOT / "docs/spec-map.md").read_text()
    return whole.partition("\n## ")[0]


def links(document: Path) -> list[str]:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", document.read_text())
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    assert [link for link in links(document) if not (document.parent / link).exists()] == []


# --- what must not be in any file ---------------------------------------------------------------

# Registries and mirrors are the machine's business; Maven's XML name space is no address.
HOSTS = re.compile(
    rb"(pypi\.org|pythonhosted\.org|repo1?\.maven|maven\.google|registry\.npmjs|proxy\.golang"
    rb"|crates\.io|deb\.debian\.org|index-url|extra-index|find-links)",
    re.IGNORECASE,
)
PLACES = re.compile(rb"(?<![\w.~-])/(work|home/\w+|Users|root|opt/wheels|tmp/w)/")
EXEMPT = {"tests/unit/test_docs.py", "helm/desilt/tests/bad/state-outside-volume.yaml"}


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    found = [
        f"{name}: {match[0].decode()}"
        for name in listed()
        if name not in EXEMPT
        for pattern in (HOSTS, PLACES)
        if (match := pattern.search((ROOT / name).read_bytes()))
    ]

    assert found == []


def test_requirements_are_pinned_without_addresses() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]

    assert pins
    assert [p for p in pins if not re.match(r"[\w.\[\]-]+==[\w.+!]+", p.strip())] == []
