"""A user's own package adds a policy: installed for real, found and asked in a fresh process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "support" / "plugin"

# Runs where the plug-in is on the path: judges two buckets and says what came out.
ASK = """
import json
from support.facts import facts_frame, keyed_facts, NOW
from desilt.policies import judge_with, load_registry, proposals_from

registry = load_registry()
policy = registry.policy_from({"kind": "delete-ratio", "ratio-max": 0.5})
facts = facts_frame(
    keyed_facts("0:1 0:1", rows=10, delete_rows=9),
    keyed_facts("0:1 0:1", rows=10, delete_rows=1),
)
verdicts = judge_with(policy, facts.lazy(), now=NOW)
print(json.dumps({
    "kinds": registry.kinds,
    "scores": verdicts["score"].to_list(),
    "proposed": [[p.key.bucket, p.reason] for p in proposals_from(verdicts, memory_bytes=1)],
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-in installed by pip; built from a copy, not in the tree."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    target = tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--target", str(target)]
    done = subprocess.run(
        [*install, *offline, str(source)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


def _ask(*path: Path) -> dict[str, object]:
    inherited = os.environ.get("PYTHONPATH", "")
    tests = Path(__file__).parents[2]
    search = os.pathsep.join([*map(str, path), str(tests), *filter(None, [inherited])])
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_an_installed_plug_in_is_found_and_its_verdicts_are_used(site: Path) -> None:
    answer = _ask(site)

    assert answer == {
        "kinds": ["amplification", "delete-ratio", "universal"],
        "scores": [1.8, 0.2],
        "proposed": [[0, "9 of 10 rows are deletes, limit 0.5"]],
    }


def test_without_the_plug_in_its_kind_is_unknown() -> None:
    error = _ask()["error"]

    assert isinstance(error, str)
    assert "unknown policy 'delete-ratio'; known kinds: amplification, universal" in error
