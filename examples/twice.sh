#!/usr/bin/env bash
# Runs every example and quick start twice on one server, the second time in the opposite order: none may be in another's
# way, nor in its own. Everything is built already.
#
#   twice.sh ROOT TARGET_DIR PYTHON [LANGUAGE...]      languages: rust cli c go python node
set -euo pipefail
root=$1 target=$2 python=$3
shift 3
folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$folder" "$root/node/build/quick"
}
trap finish EXIT
cd "$folder"

# What hangs is ended, and has failed, where there is a timeout.
patience=300
limit=(timeout --signal KILL "$patience")
command -v timeout >/dev/null || limit=(env)

mkfifo log
RSTMDB_BIND=127.0.0.1:0 RSTMDB_METRICS_ENABLED=false "$target/debug/rstmdb" --data data >log 2>&1 &
server=$!
url=
exec 3<log
while [ -z "$url" ] && read -r -t "$patience" line <&3; do
    address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' <<<"$line")
    [ -z "$address" ] || url=rstmdb://$address
done
[ -n "$url" ] || { echo "examples: the server did not start" >&2; exit 1; }
cat <&3 >server.log &

# A block of a page, the first one of its language below a heading or in the page.
block() {
    awk -v fence='```'"$2" -v after="${3:-}" '
        after == "" || $0 == after { found = 1 }
        found && $0 == fence { inside = 1; next }
        inside && /^```/ { exit }
        inside { print }
    ' "$root/$1"
}

# Runs one that ends by itself.
once() {
    local status=0
    "${limit[@]}" "$@" >out 2>&1 || status=$?
    [ "$status" = 0 ] || { echo "examples: $* failed ($status):" >&2; cat out >&2; exit 1; }
}

# Runs one that goes on, until it has written a line that fits.
until_line() {
    local wanted=$1 read_line= process
    shift
    coproc running { exec "${limit[@]}" "$@" 2>&1; }
    process=$running_PID
    while read -r -t "$patience" read_line <&"${running[0]}"; do
        printf '%s\n' "$read_line" >>out
        if grep -qE "$wanted" <<<"$read_line"; then
            kill "$process"
            wait "$process" 2>/dev/null || true
            return
        fi
    done
    echo "examples: $* ended without $wanted, or wrote nothing for $patience s:" >&2
    kill -KILL "$process" 2>/dev/null || true
    cat out >&2
    exit 1
}

examples_of() {
    case $1 in
    rust) for name in quickstart watch retry transfer; do once "$target/debug/examples/$name" "$url"; done ;;
    cli)
        block docs/guide/getting-started.md sh '## From a shell' >guide.sh
        # What the guide does next from Rust and from Python.
        echo "rstmdb-cli apply-event -i order-17 -e SHIP -p '{\"carrier\": \"ACME\"}' --idempotency-key ship-17" >>guide.sh
        RSTMDB_SERVER=${url#rstmdb://} PATH="$target/debug:$PATH" once bash -euo pipefail guide.sh
        if [[ " $all " == *" python "* ]]; then
            block docs/guide/getting-started.md python | sed "s|rstmdb://127.0.0.1:7401|$url|" >next.py
            PYTHONPATH=$target/python/debug once "$python" next.py
        fi
        ;;
    c)
        for name in quick_start worker quick_start_cpp worker_cpp; do
            once "$root/bindings/c/run_example.sh" "$target/c/debug/examples/$name" "$url"
        done
        ;;
    go)
        for name in quickstart watch retry transfer; do once "$target/go/examples/$name" "$url"; done
        until_line 'shipped ' "$target/go/examples/worker" "$url" "go-$round.place"
        ;;
    python)
        export PYTHONPATH=$target/python/debug:$root/examples/python
        for name in quickstart watch retry transfer; do once "$python" "$root/examples/python/$name.py" "$url"; done
        for page in README.md python/README.md; do
            block "$page" python | sed "s|\"./data\"|\"$url\"|" >quick.py
            once "$python" quick.py
        done
        until_line '^(shipped|left) ' "$python" "$root/examples/python/worker.py" "$url" "python-$round.place"
        if "$python" -c 'import fastapi' 2>/dev/null; then
            printf '%s\n' 'import asyncio, order_service as it' 'async def main():' '    async with it.lifespan(it.app): pass' 'asyncio.run(main())' >service.py
            ORDERS_URL=$url once "$python" service.py
        fi
        ;;
    node)
        for name in quickstart watch retry transfer; do once node "$root/node/build/examples/$name.mjs" "$url"; done
        mkdir -p "$root/node/build/quick"
        for page in README.md node/README.md; do
            block "$page" ts >"$root/node/build/quick/quick.mjs"
            once node "$root/node/build/quick/quick.mjs" "$url"
        done
        until_line ' (shipped|went on)' node "$root/node/build/examples/worker.mjs" "$url" "node-$round.place"
        until_line '^http' node "$root/node/build/examples/service.mjs" "$url" 0
        ;;
    *) echo "examples: $1 is none of the languages" >&2; exit 2 ;;
    esac
    echo "examples: $1, round $round"
}

all=$*
round=1
for language in "$@"; do examples_of "$language"; done
round=2
for ((index = $#; index > 0; index--)); do examples_of "${!index}"; done
echo "examples: each ran twice on one server: $*"
