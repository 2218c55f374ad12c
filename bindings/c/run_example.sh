#!/bin/bash
# Runs one example and compares what it prints: run_example.sh PROGRAM [URL]
set -euo pipefail
program=$1
url=${2:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
case $(basename "$program") in
quick_start*)
    "$program" ${url:+"$url"} >"$folder/out"
    grep -q '"to_state":"paid"' "$folder/out"
    grep -q '^refused: ' "$folder/out"
    ;;
worker*)
    # Stopped after two orders, it goes on with the third; each is shipped once.
    "$program" "${url:-$folder/data}" "$folder/place" 2 >"$folder/out"
    "$program" "${url:-$folder/data}" "$folder/place" 1 >>"$folder/out"
    shipped=$(sed -n 's/^shipped //p' "$folder/out")
    [ "$(sort -u <<<"$shipped" | wc -l)" = 3 ]
    [ -n "$url" ] || [ "$(sed 's/.*-//' <<<"$shipped" | tr -d '\n')" = 123 ]
    ;;
*)
    echo "run_example.sh: what does $program print?" >&2
    exit 1
    ;;
esac
