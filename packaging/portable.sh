#!/usr/bin/env bash
# Builds the wheel and the addon for Linuxes that need not be this one, and looks at what they need of them:
#   portable.sh ROOT TARGET_DIR TOOLS PLATFORM...
# A platform is x86_64 or aarch64, with gnu (glibc 2.28 or newer) or musl (1.2): x86_64-gnu. Compiler and linker is zig, from TOOLS.
# What is for this machine is tried out. All of it is left in TARGET_DIR/portable.
set -euo pipefail
root=$1 target=$2 tools=$3
shift 3
export CARGO_TARGET_DIR=$target PATH=$tools:$PATH
out=$target/portable
rm -rf "$out"
mkdir -p "$out"
make --no-print-directory -C "$root/node" dist

for platform in "$@"; do
    arch=${platform%-*} libc=${platform#*-}
    triple=$arch-unknown-linux-$libc
    case $platform in
    x86_64-gnu | aarch64-gnu) zig=$triple.2.28 wheel=manylinux_2_28 flags= check=(--glibc 2.28) ;;
    # A library that is loaded takes the C library of the program.
    x86_64-musl | aarch64-musl) zig=$triple wheel=musllinux_1_2 flags="-C target-feature=-crt-static" check=(--musl) ;;
    *) echo "portable.sh: $platform is none of x86_64-gnu, aarch64-gnu, x86_64-musl, aarch64-musl" >&2; exit 2 ;;
    esac
    command -v rustup >/dev/null || { echo "make: rustup is missing, which has the standard library for $triple; https://rustup.rs" >&2; exit 1; }
    rustup target add "$triple"
    cd "$root/python"
    RUSTFLAGS=$flags cargo xtask pathless maturin build --release --locked --zig --target "$triple" --compatibility "$wheel" --out "$out"
    cd "$root"
    RUSTFLAGS=$flags cargo xtask pathless cargo-zigbuild rustc --release --locked --target "$zig" --package rstmdb-node -- -C strip=debuginfo
    case $arch in x86_64) node=linux-x64-$libc ;; *) node=linux-arm64-$libc ;; esac
    cd "$root/node"
    node scripts/pack.mjs "$out" "$target/$triple/release/librstmdb_node.so" "$node"
    cargo xtask artefacts "${check[@]}" "$out"/rstmdb-*"$wheel"*_"$arch".whl "$out"/rstmdb-"$node"-*.tgz
done

case " $* " in
*" $(uname -m)-gnu "*)
    cd "$root"
    cargo build --quiet --locked --package rstmdb-server
    "$tools/python" python/tools/try_package.py "$out" "$target/debug/rstmdb"
    cd node
    node scripts/try-package.mjs "$out" "$target/debug/rstmdb"
    ;;
esac
