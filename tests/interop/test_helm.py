"""Does the chart render what Kubernetes accepts and the daemon can start from?

The peers are helm and the published Kubernetes schemas (kubernetes-validate, offline); no cluster
is asked. `helm/desilt/tests/good` are value sets that must render, `helm/desilt/tests/bad` are
refused by values.schema.json, each naming in its first line the value that the refusal points at.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.peers import peers_disabled

from desilt.daemon.config import load
from desilt.daemon.service import DRAIN_SECONDS_MAX, supervisor_options

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "desilt"
HELM = ROOT / "build" / "tools" / "bin" / "helm"
NO_VALUES = "default"
GOOD = {NO_VALUES: None} | {p.stem: p for p in sorted((CHART / "tests" / "good").glob("*.yaml"))}
BAD = sorted((CHART / "tests" / "bad").glob("*.yaml"))
EXAMPLE = ROOT / "examples" / "desilt.yaml"

# What the daemon itself needs: the interpreter with Polars, and the file lists of its tables.
DAEMON_BYTES = 300 * 2**20

Document = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The finished helm; it sees no cluster and no settings of this machine."""
    if peers_disabled():
        pytest.skip("DESILT_NO_PEERS=1")
    if not HELM.exists():
        pytest.fail(f"{HELM.relative_to(ROOT)} is missing: run make setup")
    home = HELM.parents[1] / "no-home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": os.devnull}
    command = [str(HELM), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@functools.cache
def rendered(name: str, *extra: str) -> str:
    """Every document that the release `lake` has with one good value set, as YAML text."""
    values = GOOD[name]
    files = () if values is None else ("-f", values)
    answer = helm("template", "lake", CHART, "--namespace", "data", *files, *extra)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def documents(name: str, *extra: str) -> list[Document]:
    """The documents of one good value set, in helm's order."""
    return [document for document in yaml.safe_load_all(rendered(name, *extra)) if document]


def the(kind: str, name: str, *extra: str) -> Document:
    """The only document of a kind, hooks aside."""
    (found,) = (
        document
        for document in documents(name, *extra)
        if document["kind"] == kind
        and "helm.sh/hook" not in (document["metadata"].get("annotations") or {})
    )
    return found


def pods(name: str) -> list[Document]:
    """Every pod spec that the release may run: the daemon's and the hooks'."""
    running = [d for d in documents(name) if d["kind"] in {"Deployment", "Job", "Pod"}]
    return [d["spec"] if d["kind"] == "Pod" else d["spec"]["template"]["spec"] for d in running]


def daemon_container(name: str) -> Document:
    """The one container of the Deployment."""
    containers: list[Document] = the("Deployment", name)["spec"]["template"]["spec"]["containers"]
    (container,) = containers
    return container


@pytest.mark.parametrize("name", GOOD)
def test_chart_passes_lint(name: str) -> None:
    values = GOOD[name]

    answer = helm("lint", "--strict", CHART, *(() if values is None else ("-f", values)))

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", GOOD)
def test_every_document_passes_kubernetes_schemas(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(rendered(name))

    validate = Path(sys.executable).parent / "kubernetes-validate"
    command = [str(validate), "--strict", "--quiet", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_kubernetes_schemas_refuse_a_misspelt_field(tmp_path: Path) -> None:
    """So that the test above cannot pass because nothing is checked."""
    path = tmp_path / "misspelt.yaml"
    path.write_text(rendered(NO_VALUES).replace("readinessProbe:", "readynessProbe:"))

    validate = Path(sys.executable).parent / "kubernetes-validate"
    command = [str(validate), "--strict", "--quiet", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 1, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_values_schema_refuses(path: Path) -> None:
    first, _, _ = path.read_text().partition("\n")
    named = first.removeprefix("# refused: ")
    assert named != first, f"{path.name} has to begin with '# refused: …'"

    answer = helm("template", "lake", CHART, "-f", path)

    assert answer.returncode != 0
    assert "values don't meet the specifications of the schema" in answer.stderr
    assert named in answer.stderr


def test_values_schema_knows_every_default_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    assert set(schema["properties"]) - {"global"} == set(values)


@pytest.mark.parametrize("name", GOOD)
def test_rendered_config_passes_check_config(name: str, tmp_path: Path) -> None:
    path = tmp_path / "desilt.yaml"
    path.write_text(the("ConfigMap", name)["data"]["desilt.yaml"])

    command = [sys.executable, "-m", "desilt.daemon", "check-config", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_example_config_is_accepted_as_values(tmp_path: Path) -> None:
    """What works outside Kubernetes works inside it, but for where files and sockets are."""
    config = yaml.safe_load(EXAMPLE.read_text())
    config["state"] = "sqlite:////var/lib/desilt/state.db"
    config["server"]["listen"] = "0.0.0.0:9464"
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": config}))

    answer = helm("template", "lake", CHART, "-f", values)

    assert answer.returncode == 0, answer.stderr


def test_config_map_holds_the_merged_config() -> None:
    shared = yaml.safe_load((CHART / "tests" / "good" / "shared-volume.yaml").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    config = yaml.safe_load(the("ConfigMap", "shared-volume")["data"]["desilt.yaml"])

    assert config == defaults["config"] | shared["config"]


def test_changed_config_changes_the_pod_template() -> None:
    def checksum(*extra: str) -> str:
        template = the("Deployment", NO_VALUES, *extra)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum("--set", "service.port=80")
    assert checksum() != checksum("--set", "config.executor.workers=3")


@pytest.mark.parametrize("name", GOOD)
def test_one_daemon_runs_at_a_time(name: str) -> None:
    spec = the("Deployment", name)["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", GOOD)
def test_service_and_probes_reach_the_port_the_daemon_listens_on(name: str) -> None:
    container = daemon_container(name)
    config = yaml.safe_load(the("ConfigMap", name)["data"]["desilt.yaml"])
    port = int(config["server"]["listen"].rpartition(":")[2])

    assert container["ports"] == [{"name": "http", "containerPort": port, "protocol": "TCP"}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert the("Service", name)["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", GOOD)
def test_service_selects_the_daemon_and_no_hook(name: str) -> None:
    selector = the("Service", name)["spec"]["selector"].items()
    daemon = the("Deployment", name)["spec"]["template"]["metadata"]["labels"].items()
    hooks = [
        (d["spec"]["template"] if d["kind"] == "Job" else d)["metadata"]["labels"].items()
        for d in documents(name)
        if d["kind"] in {"Job", "Pod"}
    ]

    assert selector <= daemon
    assert hooks
    assert not any(selector <= hook for hook in hooks)


@pytest.mark.parametrize("name", GOOD)
def test_every_container_runs_with_few_rights(name: str) -> None:
    for pod in pods(name):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", GOOD)
def test_state_directory_is_mounted_where_config_puts_the_journal(name: str) -> None:
    mounts = {m["name"]: m["mountPath"] for m in daemon_container(name)["volumeMounts"]}
    volumes = {v["name"]: v for v in the("Deployment", name)["spec"]["template"]["spec"]["volumes"]}
    config = yaml.safe_load(the("ConfigMap", name)["data"]["desilt.yaml"])
    claims = {d["metadata"]["name"] for d in documents(name) if d["kind"].endswith("VolumeClaim")}
    expected = {"default": {"lake-desilt"}, "everything-set": {"lake-keeper"}}.get(name, set())

    assert config["state"].startswith(f"sqlite:///{mounts['state']}/")
    assert ("emptyDir" in volumes["state"]) == (name == "throw-away")
    assert claims == expected


@pytest.mark.parametrize("name", GOOD)
def test_kubernetes_waits_longer_than_the_daemon_drains(name: str) -> None:
    pod = the("Deployment", name)["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS_MAX


@pytest.mark.parametrize("name", GOOD)
def test_memory_limit_leaves_room_for_every_worker_and_the_daemon(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "desilt.yaml"
    path.write_text(the("ConfigMap", name)["data"]["desilt.yaml"])
    options = supervisor_options(load(path))
    number, unit = re.findall(
        r"^(\d+)([MG]i)$", daemon_container(name)["resources"]["limits"]["memory"]
    )[0]
    limit_bytes = int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]

    assert limit_bytes >= options.workers * options.rss_bytes_max + DAEMON_BYTES


def test_hook_checks_the_same_config_that_the_daemon_gets() -> None:
    maps = [d for d in documents(NO_VALUES) if d["kind"] == "ConfigMap"]
    (job,) = (d for d in documents(NO_VALUES) if d["kind"] == "Job")

    assert [d["data"] for d in maps] == [maps[0]["data"]] * 2
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "check-config"


def test_chart_runs_the_version_that_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == project["version"]
    assert daemon_container(NO_VALUES)["image"] == f"desilt:{project['version']}"


def test_a_service_account_may_have_a_role_whose_token_the_daemon_finds() -> None:
    account = the("ServiceAccount", "web-identity")
    pod = the("Deployment", "web-identity")["spec"]["template"]["spec"]
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    token = Path(env["AWS_WEB_IDENTITY_TOKEN_FILE"])
    mounted = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}

    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": env["AWS_ROLE_ARN"]}
    (source,) = volumes[mounted[str(token.parent)]]["projected"]["sources"]
    assert source["serviceAccountToken"]["path"] == token.name
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], "may read it"


def test_packaged_chart_leaves_the_test_values_out(tmp_path: Path) -> None:
    answer = helm("package", CHART, "--destination", tmp_path)
    assert answer.returncode == 0, answer.stderr
    (archive,) = tmp_path.glob("desilt-*.tgz")

    listing = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True)

    assert "desilt/values.schema.json" in listing.stdout
    assert "desilt/templates/tests/ready.yaml" in listing.stdout
    assert "desilt/tests/" not in listing.stdout


def test_image_runs_as_the_user_the_chart_asks_for() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    context = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]

    assert user is not None
    assert (context["runAsUser"], context["runAsGroup"]) == tuple(map(int, user.groups()))


def test_image_is_built_from_every_package_and_from_files_the_builder_is_sent() -> None:
    """No engine to build it with is at hand, so at least its sources are held to the tree."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    sources = {source.rstrip("/") for line in copies for source in line.split()}
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = {name.split(".")[1] for name in packages if "." in name}

    assert sources == sent
    assert folders < sources
    assert [source for source in sorted(sources) if not (ROOT / source).exists()] == []
