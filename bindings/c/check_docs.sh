#!/bin/bash
# The programs in the documentation are the examples, word for word: check_docs.sh ROOT
# A block of C or C++ whose line before is <!-- examples/c/NAME --> must be that file.
set -euo pipefail
cd "$1"
found=0
for page in include/README.md docs/guide/c.md; do
    while read -r example; do
        found=$((found + 1))
        awk -v mark="<!-- $example -->" '
            $0 == mark { marked = 1; next }
            marked && /^```c/ { inside = 1; next }
            inside && /^```$/ { exit }
            inside { print }
        ' "$page" | diff - "$example" || {
            echo "c: the block in $page is not $example; copy it" >&2
            exit 1
        }
    done < <(sed -n 's/^<!-- \(examples\/c\/[a-z_.]*\) -->$/\1/p' "$page")
done
[ "$found" -ge 4 ] || { echo "c: only $found programs in the documentation" >&2; exit 1; }
