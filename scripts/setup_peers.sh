#!/usr/bin/env bash
# Makes the peers of the interop tests under build/peers: a pypaimon environment and one Java
# server per Paimon version. Does nothing for a peer whose stamp matches its inputs.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
peers="$root/build/peers"
java_src="$root/tests/interop/java"
maven_repo="${MAVEN_REPO_LOCAL:-$HOME/.m2/repository}"
pypaimon_version=2.1.0
psycopg_version=3.3.9 # its driver of catalogs in PostgreSQL
newest=2.0.0
oldest=0.9.0
maven=(mvn -q -B -Dstyle.color=never "-Dmaven.repo.local=$maven_repo")
s3_plugin=1.3.1 # works with the newest version; a newer one is not published
# Version 3 of the plugin reads the POM and its parents even for one jar alone; version 2 does not.
dependency_plugin=org.apache.maven.plugins:maven-dependency-plugin:2.8

# The hash of some text and of the named files' content.
digest() {
  local text="$1"
  shift
  { printf '%s\n' "$text"; cat -- "$@" </dev/null; } | sha256sum | cut -d' ' -f1
}

jar() { # jar ARTIFACT VERSION: where Maven keeps a jar of Paimon's
  printf '%s' "$maven_repo/org/apache/paimon/$1/$2/$1-$2.jar"
}

fresh() { # fresh DIRECTORY DIGEST: whether the stamp holds the digest
  [[ -f "$1/stamp" && "$(<"$1/stamp")" == "$2" ]]
}

need_tools() {
  local packages=()
  command -v javac >/dev/null && command -v java >/dev/null ||
    packages+=(openjdk-17-jdk-headless)
  command -v mvn >/dev/null || packages+=(maven)
  if ((${#packages[@]})); then
    local sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" apt-get install -y -q --no-install-recommends "${packages[@]}" ||
      "${sudo[@]}" apt-get install -y -q --no-install-recommends \
        "${packages[@]/openjdk-17-jdk-headless/default-jdk-headless}"
  fi
}

setup_pypaimon() {
  local home="$peers/pypaimon" python="${PYTHON:-python3}" want
  want="$(digest "pypaimon==$pypaimon_version psycopg==$psycopg_version $("$python" -V)")"
  if fresh "$home" "$want" && "$home/bin/python" -c '' 2>/dev/null; then
    return
  fi
  rm -rf "$home"
  "$python" -m venv "$home"
  "$home/bin/python" -m pip install -q --disable-pip-version-check \
    "pypaimon==$pypaimon_version" "psycopg[binary]==$psycopg_version"
  printf '%s' "$want" >"$home/stamp"
}

jars_present() { # jars_present CLASSPATH_FILE: whether all the jars are still in place
  local jar
  local -a jars
  [[ -f "$1" ]] || return 1
  IFS=: read -r -d '' -a jars <"$1" || true
  for jar in "${jars[@]}"; do
    [[ -f "${jar%$'\n'}" ]] || return 1
  done
}

# get_alone JAR ARTIFACT: fetches a jar of Paimon's alone and without its POM's parents, which a
# registry may not hold.
get_alone() {
  [[ -f "$1" ]] || "${maven[@]}" "$dependency_plugin:get" -Dtransitive=false \
    "-Dartifact=org.apache.paimon:$2"
}

setup_java() {
  local version="$1" home="$peers/java-$1" want
  local fat s3
  fat="$(jar paimon-flink-2.0 "$newest")"
  s3="$(jar paimon-s3 "$s3_plugin")"
  want="$(digest "$version $maven_repo" "$java_src/pom.xml" \
    "$java_src"/src/main/java/desilt/peer/*.java)"
  if fresh "$home" "$want" && jars_present "$home/classpath.txt" && command -v java >/dev/null; then
    return
  fi
  need_tools
  rm -rf "$home"
  if [[ "$version" == "$newest" ]]; then
    get_alone "$fat" "paimon-flink-2.0:$newest"
    get_alone "$s3" "paimon-s3:$s3_plugin"
  fi
  "${maven[@]}" -f "$java_src/pom.xml" "-Dpaimon=$version" "-Dpaimon.jar=$fat" \
    "-Dpaimon.s3.jar=$s3" compile
  printf '%s' "$want" >"$home/stamp"
}

# The REST catalog server of Paimon's own tests; it runs on the newest peer's classpath and this.
setup_rest() {
  local home="$peers/rest" pom="$java_src/rest/pom.xml" tests want
  tests="$maven_repo/org/apache/paimon/paimon-core/$newest/paimon-core-$newest-tests.jar"
  want="$(digest "$newest $maven_repo" "$pom" "$java_src/rest/RestServer.java")"
  if fresh "$home" "$want" && jars_present "$home/classpath.txt"; then
    return
  fi
  need_tools
  rm -rf "$home"
  get_alone "$tests" "paimon-core:$newest:jar:tests"
  "${maven[@]}" -f "$pom" "-Dpaimon=$newest" "-Dpaimon.tests.jar=$tests" compile
  javac -d "$home/classes" -cp "$(<"$peers/java-$newest/classpath.txt"):$(<"$home/classpath.txt")" \
    "$java_src/rest/RestServer.java"
  printf '%s' "$want" >"$home/stamp"
}

mkdir -p "$peers"
if command -v flock >/dev/null; then
  exec 9>"$peers/lock" # two setups at once would delete each other's work
  flock 9
fi
setup_pypaimon
setup_java "$newest"
setup_java "$oldest"
setup_rest
echo "peers are ready in build/peers"
