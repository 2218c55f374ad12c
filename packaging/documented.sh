#!/usr/bin/env bash
# Runs the install commands of docs/guide/install.md as they stand there, each in an empty place, and the quick start of the
# language with what it installed. For what was built: make wheels, npm-pack, clib and the two programs.
#
#   documented.sh ROOT TARGET_DIR [python node go c rust programs]
set -euo pipefail
root=$1 target=$2
shift 2
page=$root/docs/guide/install.md
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
# A checkout whose target is where this one builds.
mkdir "$folder/checkout"
ln -s "$root"/* "$folder/checkout/"
ln -sfn "$target" "$folder/checkout/target"
# Nothing that this shell knows may be found.
unset PYTHONPATH PKG_CONFIG_PATH LD_LIBRARY_PATH NODE_PATH CGO_LDFLAGS CARGO_TARGET_DIR

fail() { echo "install: $*" >&2; exit 1; }

# What stands as code in a row, in a column from 2 on, each on a line: in a checkout, then, when it is published.
codes_of() {
    local row
    row=$(grep -F "| $1 |" "$page" || grep -F "| [$1]" "$page") || fail "no row of $1 in $page"
    awk -F' [|] ' -v column="$2" '{ print $column }' <<<"$row" | grep -o '`[^`]*`' | sed "s|\`||g; s|CHECKOUT|$folder/checkout|g"
}
command_of() { codes_of "$@" | sed -n 1p; }

# The first block of a page in a language.
block() { awk -v fence='```'"$2" '$0 == fence { inside = 1; next } inside && /^```/ { exit } inside { print }' "$root/$1"; }

run() {
    local line=$1
    echo "install: $line" | sed "s|$folder/checkout|CHECKOUT|g"
    [ -n "$line" ] || fail "the page has no command there"
    bash -euo pipefail -c "$line" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; fail "that failed"; }
}

# Runs a program, which writes what fits.
shows() {
    local wanted=$1
    shift
    "$@" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; fail "$* failed"; }
    grep -q "$wanted" "$folder/log" || { cat "$folder/log" >&2; fail "$* did not write $wanted"; }
}

# Each begins in a folder of its own.
try_python() {
    python3 -m venv venv
    PATH=$PWD/venv/bin:$PATH
    run "$(command_of Python 3)"
    block README.md python >quick.py
    shows '^created -> paid' python quick.py
}

try_node() {
    npm init --yes >/dev/null
    run "$(command_of TypeScript 3)"
    block README.md ts >quick.mjs
    shows '^paid ' node quick.mjs mem:
}

try_go() {
    go mod init example.org/program >"$folder/log" 2>&1
    run "$(awk '$0 == "## Go" { found = 1 } found && /^go mod/' "$page" | sed "s|CHECKOUT|$folder/checkout|")"
    block bindings/go/README.md go >main.go
    # Where the build goes elsewhere, its folder is not beside the module.
    [ "$target" = "$root/target" ] || export CGO_LDFLAGS=-L$target/release
    shows '^created -> paid' go run . mem:
}

try_c() {
    mkdir prefix
    run "$(command_of 'C, C++' 3 | sed "s|/usr/local|$PWD/prefix|")"
    export PKG_CONFIG_PATH=$PWD/prefix/lib/pkgconfig
    cc "$root/examples/c/quick_start.c" -o quick $(pkg-config --cflags --libs rstmdb)
    if ./quick >log 2>&1; then fail "a shared library was found in no known place"; fi
    grep -q 'librstmdb' log || fail "$(cat log)"
    # What the page of C says for a folder of one's own.
    LD_LIBRARY_PATH=$PWD/prefix/lib shows paid ./quick
    # And for one that the system knows: the cache of a copy.
    if [ "$(uname)" = Linux ] && command -v ldconfig >/dev/null; then
        ldconfig -C "$PWD/cache" -f /dev/null "$PWD/prefix/lib"
        shows 'librstmdb.so.1' ldconfig -C "$PWD/cache" -p
    fi
}

try_rust() {
    cargo new --quiet --vcs none program
    cd program
    cp "$root/rust-toolchain.toml" .
    run "$(command_of Rust 3 | sed "s|.*|echo '&' >>Cargo.toml|")"
    cp "$root/examples/rust/quickstart.rs" src/main.rs
    # What the checkout built is of use here, too.
    cp "$root/Cargo.lock" .
    CARGO_TARGET_DIR=$target shows . cargo run --quiet -- mem:
}

try_programs() {
    for program in $(codes_of 'server and `rstmdb-cli`' 3); do
        echo "install: $program"
        shows '^rstmdb' "$folder/checkout/$program" --version
    done
}

for what in "${@:-python node go c rust programs}"; do
    for one in $what; do
        mkdir "$folder/$one"
        (cd "$folder/$one" && "try_$one")
        echo "install: $one: done"
    done
done
