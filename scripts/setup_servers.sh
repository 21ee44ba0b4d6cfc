#!/usr/bin/env bash
# Puts the servers that tests of object stores and catalogs need under build/servers: Ceph's
# object gateway (an S3 server) and, where the machine has none, PostgreSQL.
#
#   scripts/setup_servers.sh          fetch what is missing (a moment when nothing is)
#
# Both come from Debian's packages, with all they depend on that the machine lacks: unpacked, not
# installed, so nothing on the machine changes and no root is needed (only `apt-get update`, on a
# machine without or with old package lists, needs it). A stamp says what is there.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
servers="$root/build/servers"

say() { printf 'setup_servers: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

scratch=""
cleanup() { [ -z "$scratch" ] || rm -rf "$scratch"; }
trap cleanup EXIT

# What packages $@ need on an empty machine, less what this one has; one a line.
missing_packages() {
  apt-get -s -q -o Dir::State::status=/dev/null --no-install-recommends install "$@" |
    awk '$1 == "Inst" { print $2 }' | sort -u |
    comm -23 - <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' |
      awk '$1 == "installed" { print $2 }' | sort -u)
}

download() { # download PACKAGE...: with their missing dependencies, into the current directory
  local -a wanted
  mapfile -t wanted < <(missing_packages "$@")
  ((${#wanted[@]})) || return 1
  # _apt may not enter our directory; that it says so is of no use to anybody.
  apt-get download -qq -o APT::Sandbox::User=root "${wanted[@]}"
}

# fetch NAME PACKAGE...: the packages and what they need, unpacked into build/servers/NAME
fetch() {
  local name="$1" package
  shift
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "$name comes from Debian's packages: apt-get and dpkg are needed"
  cleanup
  scratch="$(mktemp -d "$servers/.fetch.XXXXXX")"
  mkdir "$scratch/debs" "$scratch/tree"
  say "fetching $name ($*) and what it needs"
  # A list from last month may name a package that is no longer there: update once, then give up.
  (cd "$scratch/debs" && download "$@") || {
    say "no package lists, or old ones: apt-get update"
    apt-get update -qq || die "apt-get update failed (it needs root: run it once as root)"
    (cd "$scratch/debs" && download "$@") || die "apt-get could not download $*"
  }
  for package in "$scratch"/debs/*.deb; do dpkg -x "$package" "$scratch/tree"; done
  rm -rf "$scratch/tree/usr/share/doc" "$scratch/tree/usr/share/man" "$servers/$name"
  chmod 755 "$scratch/tree" # root's PostgreSQL runs as another user
  mv "$scratch/tree" "$servers/$name"
}

libraries() { # libraries TREE: the folders of an unpacked tree that hold shared libraries
  local triplet
  triplet="$(uname -m)-linux-gnu"
  printf '%s' "$1/usr/lib/$triplet:$1/usr/lib/$triplet/ceph:$1/lib/$triplet"
}

setup_ceph() {
  local home="$servers/ceph" program
  [ -f "$servers/.ceph" ] && [ -x "$home/usr/bin/radosgw" ] && return
  fetch ceph radosgw ceph-mon ceph-osd
  for program in radosgw ceph-mon ceph-osd; do
    LD_LIBRARY_PATH="$(libraries "$home")" "$home/usr/bin/$program" --version >/dev/null ||
      die "the fetched $program does not run"
  done
  touch "$servers/.ceph"
}

# The folder of the programs of an installed PostgreSQL; nothing when there is none.
installed_postgres() {
  local found
  for found in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres; do
    [ -x "$found" ] || continue
    found="$(dirname "$(readlink -f "$found")")"
    [ -x "$found/initdb" ] && printf '%s' "$found" && return
  done
}

# build/servers/postgres-bin is a link to the folder of the programs, wherever they come from.
setup_postgres() {
  local home="$servers/postgres" link="$servers/postgres-bin" found=""
  [ -x "$link/postgres" ] && [ -x "$link/initdb" ] && return
  found="$(installed_postgres)"
  if [ -z "$found" ]; then
    fetch postgres postgresql
    found="$(cd "$servers" && dirname postgres/usr/lib/postgresql/*/bin/postgres)"
  fi
  ln -sfn "$found" "$link"
  LD_LIBRARY_PATH="$(libraries "$home")" "$link/postgres" --version >/dev/null ||
    die "PostgreSQL of $found does not run"
}

mkdir -p "$servers"
if command -v flock >/dev/null; then
  exec 9>"$servers/lock" # two setups at once would delete each other's work
  flock 9
fi
setup_ceph
setup_postgres
say "the servers are ready in build/servers"
