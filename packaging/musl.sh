#!/usr/bin/env bash
# Runs what portable.sh made for musl on a machine that has another C library, with Debian's musl: the wheel's library and the
# addon are loaded by it, and the quick starts in C and C++ run, linked with the C library built in the same way.
#
#   musl.sh ROOT TARGET_DIR TOOLS ZIG
set -euo pipefail
root=$1 target=$2 tools=$3 zig=$4
arch=$(uname -m)
triple=$arch-unknown-linux-musl
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
loader=$tools/lib/$arch-linux-musl/libc.so
[ -x "$loader" ] || "$root/packaging/debian.sh" "$tools" "$(dpkg --print-architecture)" musl

cd "$root"
PATH=$zig:$PATH CARGO_TARGET_DIR=$target RUSTFLAGS="-C target-feature=-crt-static" cargo xtask pathless \
    cargo-zigbuild rustc --quiet --release --locked --target "$triple" --package rstmdb-c -- -C strip=debuginfo
built=$target/$triple/release
cargo xtask artefacts --musl "$built/librstmdb.so"

cd "$folder"
# Without the checks of a debug build, which need a newer musl.
compile() { "$zig/python" -m ziglang "$1" -target "$arch-linux-musl" -dynamic -O1 -fno-sanitize=undefined "${@:2}"; }
cat >load.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    void *library = dlopen(words[1], RTLD_NOW);
    if (library && dlsym(library, words[2])) return 0;
    return fprintf(stderr, "%s\n", dlerror()), 1;
}
C
compile cc load.c -o load
for pair in native:PyInit__native node:napi_register_module_v1; do
    library=$built/librstmdb_${pair%:*}.so
    # What the interpreter has: names are enough to see that nothing else is missing.
    nm -D --undefined-only "$library" | awk '$2 ~ /^(_?Py|napi_)/ { print "void " $2 "(void) {}" }' >names.c
    compile cc -shared names.c -o names.so
    LD_PRELOAD=$folder/names.so "$loader" ./load "$library" "${pair#*:}"
    echo "musl: $(basename "$library") is loaded"
done
compile cc -std=c11 -I"$root/include" "$root/examples/c/quick_start.c" -o quick_c -L"$built" -lrstmdb
compile c++ -std=c++17 -I"$root/include" "$root/examples/c/quick_start.cpp" -o quick_cpp -L"$built" -lrstmdb
ln -s "$built/librstmdb.so" "librstmdb.so.$(sed -n 's/^#define RSTMDB_ABI_VERSION \([0-9]*\).*/\1/p' "$root/include/rstmdb.h")"
for program in quick_c quick_cpp; do
    for url in mem: ./data-$program; do
        LD_LIBRARY_PATH=$folder "$loader" "./$program" "$url" >out
        grep -q '^refused: ' out
    done
    echo "musl: $program runs"
done
