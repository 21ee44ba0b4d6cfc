"""Do the dashboard and the alerts ask for what the daemon really says?

The real daemon works on a small real warehouse, a real Prometheus scrapes it, and every query of
`dashboards/` is run there. A metric that is renamed, loses a label or starts without a sample fails
here, and not on the day when somebody needs the panel.
"""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from support.peers import peers_disabled
from typer.core import TyperGroup
from typer.main import get_command

import desilt
from desilt.daemon.cli import app
from desilt.daemon.config import load
from desilt.policies.match import best_rule
from desilt.table.table import Table

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards"
DASHBOARD = DASHBOARDS / "desilt-overview.json"
ALERTS = DASHBOARDS / "alerts.yaml"
ALERT_STORIES = DASHBOARDS / "alerts.test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
TOOLS = ROOT / "build" / "tools" / "bin"

# Enough for the slowest start seen on two busy cores, times three; a good run takes a third of it.
PATIENCE_SECONDS = 60.0
# What Grafana would put in; every window is longer than the test, so one task is enough.
SUBSTITUTES = {
    "$__rate_interval": "2m",
    "$__range": "2m",
    "$__interval": "1s",
    "$instance": ".*",
    "$table": ".*",
}
COMPARISON = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*[0-9.]+$")
SELECTOR = re.compile(r"(desilt_\w+(?:\{[^}]*\})?)")

Document = dict[str, Any]


# -- what the files say ---------------------------------------------------------------------------


def dashboard() -> Document:
    document: Document = json.loads(DASHBOARD.read_text())
    return document


def panels() -> list[Document]:
    """The panels that show something, in their order on the page."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rows() -> list[tuple[str, list[Document]]]:
    """Each row's title with its panels."""
    answer: list[tuple[str, list[Document]]] = []
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            answer.append((panel["title"], []))
        else:
            answer[-1][1].append(panel)
    return answer


def queries() -> dict[str, str]:
    """Every query of the dashboard, by row, panel and letter."""
    return {
        f"{title.partition(':')[0]}/{panel['title']}/{target['refId']}": target["expr"]
        for title, shown in rows()
        for panel in shown
        for target in panel["targets"]
    }


def rules() -> dict[str, Document]:
    """Every alert rule by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def substituted(query: str) -> str:
    for name, value in SUBSTITUTES.items():
        query = query.replace(name, value)
    return query


def selectors(expression: str) -> list[str]:
    """The series that an expression reads, as selectors."""
    return SELECTOR.findall(expression)


def without_comparison(expression: str) -> str | None:
    """The value that an alert compares, or None where the rule is more than one comparison."""
    if re.search(r"\b(?:absent|unless|and)\b", expression):
        return None
    return COMPARISON.sub("", expression)


# No sample before a bucket is asked for something, or upkeep has done something; their labels are
# tested with them.
LATE = {"desilt_store_requests_total", "desilt_store_bytes_total", "desilt_upkeep_total"}
QUERIES = queries()
RULES = rules()
# What has to have samples for an alert to mean anything when it stays silent.
ALERT_QUERIES = {
    f"{name}/{number}": selector
    for name, rule in RULES.items()
    for number, selector in enumerate(
        [*selectors(rule["expr"]), *filter(None, [without_comparison(rule["expr"])])]
    )
}


# -- the real thing -------------------------------------------------------------------------------


def get(url: str, **parameters: str) -> str:
    """The body of an answer, whatever its status."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    try:
        with urllib.request.urlopen(url + query, timeout=5) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    return body.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[object], log: Path, ready: str) -> Generator[None]:
    """A process that answers on `ready` while the block runs; stopped by SIGTERM."""
    with log.open("wb") as out:
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=out, cwd=log.parent)
    try:
        wait_until_ready(process, log, ready)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError as error:  # refused, or 503 while it is not ready
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{log.stem} not ready: {error}\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


@dataclass
class World:
    """A daemon at work, and a table that somebody goes on writing to."""

    table: Table
    address: str
    log: Path
    commits: int = 0

    def write(self) -> None:
        """One small commit: new values for keys in every bucket."""
        keys = range(200)
        self.table.write(
            pl.DataFrame({"id": keys, "value": [f"v{self.commits}-{key}" for key in keys]})
        )
        self.commits += 1

    def metrics(self) -> str:
        return get(f"http://{self.address}/metrics")


@dataclass
class Prometheus:
    """A server that scrapes the daemon each second and evaluates the alert rules."""

    url: str
    # Why a query has not been good yet; a query that has been is not in here.
    lacking: dict[str, str] = field(default_factory=dict[str, str])

    def ask(self, path: str, **parameters: str) -> Document:
        answer: Document = json.loads(get(f"{self.url}/api/v1/{path}", **parameters))
        return answer

    def lack(self, query: str) -> str | None:
        """None when the query returns a number; else what is wrong with its answer."""
        answer = self.ask("query", query=query)
        if answer["status"] != "success":
            return str(answer["error"])
        samples = [float(series["value"][1]) for series in answer["data"]["result"]]
        if not samples:
            return "no sample"
        return "NaN only" if all(map(math.isnan, samples)) else None

    def try_all(self, asked: Sequence[str]) -> None:
        """Run every query that has not been good yet."""
        for query in asked:
            lack = self.lack(query)
            if lack is None:
                self.lacking.pop(query, None)
            else:
                self.lacking[query] = lack


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    catalog = desilt.Catalog(str(folder / "warehouse"))
    table = catalog.create_table(
        "rec.events",
        {"id": "BIGINT NOT NULL", "value": "STRING"},
        primary_key=["id"],
        options={"bucket": "2", "write-only": "true"},
    )
    hidden = catalog.create_table(
        "rec.states",
        {"id": "BIGINT NOT NULL", "value": "STRING"},
        primary_key=["id"],
        options={"bucket": "1", "deletion-vectors.enabled": "true"},
    )
    hidden.write(pl.DataFrame({"id": [1], "value": ["a"]}))
    address = f"127.0.0.1:{free_port()}"
    config = folder / "desilt.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "catalogs": [{"name": "lake", "warehouse": str(folder / "warehouse")}],
                "policies": [
                    {
                        "name": "all",
                        "match": "*",
                        "compaction": {"kind": "universal"},
                        "snapshots": {"retain-min": 1, "retain-max": 9},
                    },
                ],
                "scheduler": {
                    "scan-interval": "500ms",
                    "budgets": {"concurrent": 1, "memory": "64MiB"},
                },
                "executor": {"kind": "local", "workers": 1},
                "state": f"sqlite:///{folder / 'state.db'}",
                "server": {"listen": address},
            }
        )
    )
    world = World(table, address, folder / "daemon.log")
    for _ in range(5):
        world.write()
    command = [sys.executable, "-m", "desilt.daemon", "run", "-c", config]
    with running(command, world.log, f"http://{address}/readyz"):
        yield world


def tool(name: str) -> Path:
    """A program of scripts/setup_tools.sh."""
    if peers_disabled():
        pytest.skip("DESILT_NO_PEERS=1")
    if not (TOOLS / name).exists():
        pytest.fail(f"build/tools/bin/{name} is missing: run make setup")
    return TOOLS / name


@pytest.fixture(scope="module")
def server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with our alert rules, scraping the daemon each second."""
    program, folder = tool("prometheus"), tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(ALERTS)],
                "scrape_configs": [
                    {"job_name": "desilt", "static_configs": [{"targets": [world.address]}]}
                ],
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield Prometheus(f"http://{address}")


@pytest.fixture(scope="module")
def prometheus(world: World, server: Prometheus) -> Prometheus:
    """The server after every query was good, or when patience is at its end."""
    asked = sorted({*map(substituted, QUERIES.values()), *ALERT_QUERIES.values()})
    server.lacking = dict.fromkeys(asked, "not asked")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.lacking and time.monotonic() < deadline:
        world.write()  # so that there is always something to compact
        time.sleep(0.5)
        server.try_all(list(server.lacking))
    return server


# -- every query has an answer --------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_dashboard_query_returns_a_number(prometheus: Prometheus, query: str) -> None:
    concrete = substituted(query)
    assert "$" not in concrete

    assert prometheus.lacking.get(concrete) is None


@pytest.mark.parametrize("query", ALERT_QUERIES.values(), ids=ALERT_QUERIES.keys())
def test_what_an_alert_looks_at_has_samples(prometheus: Prometheus, query: str) -> None:
    assert prometheus.lacking.get(query) is None


@pytest.mark.parametrize("variable", ["instance", "table"])
def test_dashboard_variable_has_values(prometheus: Prometheus, variable: str) -> None:
    (found,) = (v for v in dashboard()["templating"]["list"] if v["name"] == variable)
    ((metric, label),) = re.findall(r"^label_values\((\w+), (\w+)\)$", found["query"]["query"])

    answer = prometheus.ask(f"label/{label}/values", **{"match[]": metric})

    assert answer["data"]


def test_alert_rules_are_evaluated_without_error(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["data"]["groups"]
    loaded = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in groups[0]["rules"]}

    assert loaded == dict.fromkeys(RULES, ("ok", None))


def test_a_healthy_daemon_fires_no_alert(prometheus: Prometheus) -> None:
    alerts = prometheus.ask("alerts")["data"]["alerts"]

    assert [alert for alert in alerts if alert["state"] == "firing"] == []


def test_prometheus_finds_nothing_to_object_to_in_the_metrics(world: World) -> None:
    command = [str(tool("promtool")), "check", "metrics"]
    answer = subprocess.run(
        command, input=world.metrics(), capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stdout + answer.stderr


# -- alert rules ----------------------------------------------------------------------------------


def test_promtool_accepts_the_alert_rules() -> None:
    command = [str(tool("promtool")), "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_alert_stories_come_true() -> None:
    command = [str(tool("promtool")), "test", "rules", str(ALERT_STORIES)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", RULES)
def test_alert_has_a_story_in_which_it_fires_and_one_in_which_it_is_silent(name: str) -> None:
    stories = yaml.safe_load(ALERT_STORIES.read_text())["tests"]
    wanted = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
    expected = [
        bool(case["exp_samples"])
        for story in stories
        for case in story["promql_expr_test"]
        if case["expr"] == wanted
    ]

    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", RULES)
def test_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = RULES[name]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"


# -- runbooks -------------------------------------------------------------------------------------


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_runbook_answers_the_five_questions(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()

    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [
        "What it means",
        "How bad",
        "How to look",
        "How to fix",
        "How to stop the daemon touching a table",
    ]


def bullet(name: str, start: str) -> str:
    """The bullet of a runbook's "How to look" that begins with a word."""
    page = (RUNBOOKS / f"{name}.md").read_text()
    found = re.search(rf"^- {start}: (.+(?:\n  .+)*)", page, re.MULTILINE)
    assert found is not None, f"{name}.md has no line '- {start}: …'"
    return found[1]


def quoted(text: str) -> list[str]:
    """What stands between single backticks, line breaks taken out."""
    text = re.sub(r"```.+?```", "", text, flags=re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("name", RULES)
def test_runbook_names_log_events_that_exist(name: str) -> None:
    known = set(re.findall(r'^    name = "(.+)"$', source("listen.py"), re.MULTILINE))
    named = {code for code in quoted(bullet(name, "Log")) if re.fullmatch(r"[a-z]+\.[a-z]+", code)}

    assert named
    assert named <= known


@pytest.mark.parametrize("name", RULES)
def test_runbook_names_commands_and_flags_that_exist(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    commands = [code.split() for code in quoted(page) if re.match(r"desilt [a-z-]+ ", code)]
    known = get_command(app)
    assert isinstance(known, TyperGroup)

    assert commands
    for _, command, *arguments in commands:
        flags = {flag for option in known.commands[command].params for flag in option.opts}
        assert {word for word in arguments if word.startswith("-")} <= flags


@pytest.mark.parametrize("name", RULES)
def test_runbook_queries_run(prometheus: Prometheus, name: str) -> None:
    asked = [code for code in quoted(bullet(name, "Query")) if re.search(r"[({_]", code)]

    assert asked
    for query in asked:
        answer = prometheus.ask("query", query=query.replace("DB.TABLE", "rec.events"))
        assert answer["status"] == "success", answer


@pytest.mark.parametrize("name", RULES)
def test_runbook_way_to_leave_a_table_out_is_a_config_that_loads(name: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", (RUNBOOKS / f"{name}.md").read_text(), re.DOTALL)
    path = tmp_path / "desilt.yaml"
    path.write_text(f"catalogs: [{{name: lake, warehouse: /lake}}]\n{block}")

    config = load(path)

    chosen = best_rule(config.policies, catalog="lake", table="rec.events")
    assert chosen is config.policies[0]


def source(name: str) -> str:
    return (ROOT / "daemon" / name).read_text()


# -- names ----------------------------------------------------------------------------------------


def exposed(world: World) -> dict[str, tuple[str, set[str]]]:
    """Our metrics as served: name to type and label names."""
    text = world.metrics()
    kinds = re.findall(r"^# TYPE (desilt_\w+) (\w+)$", text, re.MULTILINE)
    return {
        name: (kind, served_labels(text, name))
        for name, kind in kinds
        if not name.endswith("_created")  # the client adds one for each counter and histogram
    }


def served_labels(text: str, name: str) -> set[str]:
    samples = re.findall(rf"^{name}(?:_bucket|_sum|_count)?{{(.*)}} ", text, re.MULTILINE)
    return {label for sample in samples for label in re.findall(r'(\w+)="', sample)} - {"le"}


def defined_metrics() -> set[str]:
    """Names in the modules that make metrics."""
    text = source("metrics.py") + source("store_metrics.py")
    return set(re.findall(r'"(desilt_\w+)"', text))


def documented() -> dict[str, tuple[str, set[str]]]:
    """The metrics of docs/metrics.md: name to type and label names."""
    line = re.compile(r"^\| `(desilt_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in line.findall(METRICS_PAGE.read_text())
    }


def test_every_metric_is_documented_with_its_type_and_labels(
    world: World, prometheus: Prometheus
) -> None:
    """After all queries were good, so every metric has been set at least once."""
    told = documented()
    late = {name: (kind, told[name][1]) for name, (kind, _) in exposed(world).items()
            if name in LATE}  # fmt: skip

    assert exposed(world) | late == told


def test_metrics_page_names_what_the_daemon_defines() -> None:
    assert set(documented()) == defined_metrics()


def test_queries_use_only_metrics_that_the_daemon_defines() -> None:
    defined = defined_metrics()
    parts = {name + part for name in defined for part in ("_bucket", "_sum", "_count")}
    texts = [*QUERIES.values(), *(rule["expr"] for rule in RULES.values())]
    used = {name for text in texts for name in re.findall(r"desilt_\w+", text)}

    assert used <= defined | parts


def test_every_metric_that_stays_is_shown_or_watched() -> None:
    """A metric that nobody looks at is noise: on the dashboard, or in an alert."""
    texts = " ".join([*QUERIES.values(), *(rule["expr"] for rule in RULES.values())])

    assert [name for name in documented() if name not in texts] == []


# -- the dashboard as a page ----------------------------------------------------------------------


def test_dashboard_has_a_row_for_the_four_questions_and_one_for_each_stage() -> None:
    first, *stages = (title for title, _ in rows())

    assert first == "Is the lake kept clear?"
    assert [title.partition(":")[0] for title in stages] == [
        "Scan",
        "Decide",
        "Queue",
        "Execute",
        "Commit",
        "Expire",
        "Upkeep",
        "Store",
    ]


@pytest.mark.parametrize(
    ("question", "metric"),
    [
        ("How much is due", "desilt_backlog_tasks"),
        ("How much was done", "desilt_tasks_total"),
        ("How old is the oldest due work", "desilt_oldest_due_age_seconds"),
        ("How much was given up, and why", "desilt_tasks_total"),
    ],
)
def test_first_row_answers(question: str, metric: str) -> None:
    _, shown = rows()[0]
    (panel,) = (panel for panel in shown if panel["title"] == question)

    assert metric in panel["targets"][0]["expr"]


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    everything = dashboard()["panels"]
    squares = [
        (x, y)
        for panel in everything
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


def test_every_panel_says_what_it_shows_and_asks_the_chosen_data_source() -> None:
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
