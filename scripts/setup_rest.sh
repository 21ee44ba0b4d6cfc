#!/usr/bin/env bash
# Builds the REST catalog server of the tests under build/peers: a small program around the server
# that Paimon's own tests use. Does nothing when the stamp matches its inputs.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source="$root/tests/interop/rest"
version=2.0.0
home="$root/build/peers/rest-$version"
maven_repo="${MAVEN_REPO_LOCAL:-$HOME/.m2/repository}"
paimon="$maven_repo/org/apache/paimon"
# Version 3 of the plugin reads the POM and its parents even for one jar alone; version 2 does not.
dependency_plugin=org.apache.maven.plugins:maven-dependency-plugin:2.8
maven=(mvn -q -B -Dstyle.color=never "-Dmaven.repo.local=$maven_repo")

jars_present() { # whether all the jars are still in place
  local jar
  local -a jars
  [[ -f "$home/classpath.txt" ]] || return 1
  IFS=: read -r -d '' -a jars <"$home/classpath.txt" || true
  for jar in "${jars[@]}"; do
    [[ -f "${jar%$'\n'}" ]] || return 1
  done
}

get() { # get ARTIFACT CLASSIFIER: fetches a jar of Paimon's alone, without its POM's parents
  local classifier="${2:+-$2}"
  [[ -f "$paimon/$1/$version/$1-$version$classifier.jar" ]] ||
    "${maven[@]}" "$dependency_plugin:get" -Dtransitive=false \
      "-Dartifact=org.apache.paimon:$1:$version:jar${2:+:$2}"
}

want="$({
  printf '%s\n' "$version $maven_repo"
  cat "$source/pom.xml" "$source"/src/main/java/desilt/rest/*.java
} | sha256sum | cut -d' ' -f1)"
mkdir -p "$root/build/peers"
if command -v flock >/dev/null; then
  exec 9>"$root/build/peers/lock" # two setups at once would delete each other's work
  flock 9
fi
if [[ -f "$home/stamp" && "$(<"$home/stamp")" == "$want" ]] && jars_present; then
  exit 0
fi
rm -rf "$home"
get paimon-flink-2.0 ""
get paimon-core tests
"${maven[@]}" -f "$source/pom.xml" "-Dpaimon=$version" "-Dpaimon.home=$paimon" compile
printf '%s' "$want" >"$home/stamp"
echo "setup_rest: the REST catalog server is ready in build/peers" >&2
