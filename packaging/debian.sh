#!/usr/bin/env bash
# Unpacks packages of Debian or Ubuntu into a folder, for who may not install them, or wants those of another machine:
#   debian.sh [--whole] FOLDER ARCHITECTURE PACKAGE...
# FOLDER has a root then: usr/bin and what else the packages have; --whole: and what they depend on, down to the C library.
set -euo pipefail
whole=
if [ "$1" = --whole ]; then whole=1; shift; fi
folder=$1 architecture=$2
shift 2
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "debian.sh: this is no Debian and no Ubuntu" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial} "$folder"
: >"$work/status"
apt() {
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::status="$work/status" \
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
if [ -n "$whole" ]; then
    apt install --yes --no-install-recommends --download-only "$@"
    mv "$work"/cache/archives/*.deb "$work/"
else
    (cd "$work" && apt download "$@")
fi
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$folder"; done
