#!/bin/bash
# Lays out what a system has of the server and of rstmdb-cli, below a prefix:
#   programs.sh ROOT FOLDER_OF_THE_PROGRAMS PREFIX
# Manual pages and completions are what the programs say of themselves.
set -euo pipefail
root=$1 built=$2 prefix=$3

for program in rstmdb rstmdb-cli; do
    if [ ! -x "$built/$program" ]; then
        echo "$built/$program is missing; cargo build --release --package rstmdb-server --package rstmdb-cli builds it" >&2
        exit 1
    fi
done
share=$prefix/share
mkdir -p "$prefix/bin" "$share"/{man/man1,doc/rstmdb,rstmdb/systemd} \
    "$share"/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,powershell/completions}
install -m 0755 "$built/rstmdb" "$built/rstmdb-cli" "$prefix/bin/"
install -m 0644 "$root/LICENSE" "$root/NOTICE" "$root/docs/rstmdb.example.yaml" "$share/doc/rstmdb/"
install -m 0644 "$root"/packaging/systemd/rstmdb.service "$root"/packaging/systemd/rstmdb-backup.* "$share/rstmdb/systemd/"

"$built/rstmdb" --print-man-page >"$share/man/man1/rstmdb.1"
"$built/rstmdb-cli" man-pages "$share/man/man1"
complete() {
    local program=$1
    shift
    "$@" bash >"$share/bash-completion/completions/$program"
    "$@" zsh >"$share/zsh/site-functions/_$program"
    "$@" fish >"$share/fish/vendor_completions.d/$program.fish"
    "$@" powershell >"$share/powershell/completions/$program.ps1"
}
complete rstmdb "$built/rstmdb" --print-completions
complete rstmdb-cli "$built/rstmdb-cli" completions
