"""The YAML: good files say what they mean, bad ones are refused with the file and the key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from desilt.daemon import config as module
from desilt.daemon.config import effective, load
from desilt.daemon.errors import ConfigError
from desilt.daemon.schedule import Cron, Every
from desilt.daemon.service import app_options, rules_of
from desilt.daemon.units import Duration
from desilt.table.expire import Override

ROOT = Path(__file__).parents[3]
FOLDER = Path(__file__).parent / "config"
GOOD = sorted(FOLDER.glob("*.good.yaml"))
BAD = sorted(FOLDER.glob("*.bad.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.removesuffix(".bad.yaml"))
def test_load_names_the_file_and_the_key_when_bad(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# ")

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name.removesuffix(".good.yaml"))
def test_effective_config_loads_as_the_same_config(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(effective(load(path))))

    assert effective(load(again)) == effective(load(path))


def test_load_understands_every_key() -> None:
    config = load(FOLDER / "full.good.yaml")

    assert [catalog.name for catalog in config.catalogs] == ["lake", "other"]
    assert config.policies[1].match == "other.rec.events"
    assert config.scheduler.scan_interval.when == Every(Duration(0.5))
    assert app_options(config).expire_seconds == 20.0
    assert config.scheduler.discover_interval == Duration(30)
    assert config.scheduler.idle_interval == Duration(600)
    assert config.scheduler.budgets.memory == 512 * 2**20
    assert config.executor.workers == 3
    assert config.state_path == Path("/var/lib/desilt/state.db")
    assert (config.verify, config.logs.level) == ("full", "debug")


def test_snapshots_are_bounds_in_place_of_options() -> None:
    rules = rules_of(load(FOLDER / "snapshots.good.yaml"))

    assert [rule.snapshots for rule in rules] == [
        Override(), Override(5, 100, 7 * 86_400_000), None,
    ]  # fmt: skip


def test_load_fills_in_defaults() -> None:
    config = load(FOLDER / "minimal.good.yaml")

    assert config.state_path == Path("desilt-state.db")
    assert effective(config)["scheduler"] == {
        "scan-interval": "5s",
        "discover-interval": "1m",
        "idle-interval": None,
        "expire-interval": "1m",
        "budgets": {"concurrent": 2, "memory": "1GiB"},
    }


def test_load_accepts_a_cron_expression() -> None:
    config = load(FOLDER / "cron.good.yaml")

    assert config.scheduler.scan_interval.when == Cron("*/5 2-4 * * mon")


def test_effective_config_shows_the_defaults_of_policies() -> None:
    policies = effective(load(FOLDER / "full.good.yaml"))["policies"]

    assert isinstance(policies, list)
    assert policies[1]["compaction"] == {"kind": "amplification", "target": 4.0}


def test_load_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_load_refuses_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("#" * (module.CONFIG_BYTES_MAX + 1))

    with pytest.raises(ConfigError, match="larger than"):
        load(path)


def test_load_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\xff\x00\x01")

    with pytest.raises(ConfigError, match="no YAML"):
        load(path)


def test_example_is_good_and_the_same_in_the_package() -> None:
    example = ROOT / "examples" / "desilt.yaml"

    load(example)
    assert (ROOT / "daemon" / "desilt.yaml").read_bytes() == example.read_bytes()


def test_configuration_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "make_config_docs.py"

    done = subprocess.run([sys.executable, "-P", str(script), "--check"], cwd=ROOT, check=False)

    assert done.returncode == 0, "run python scripts/make_config_docs.py"
