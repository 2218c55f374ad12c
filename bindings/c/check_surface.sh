#!/bin/bash
# Compares the headers with tests/conformance/surface.json, at compile time: check_surface.sh ROOT CC CXX
# Every operation has its function, its two methods and its number; every code and kind of errors its number;
# every option its member of rstmdb::Options and its line in the page on C.
set -euo pipefail
root=$1 cc=$2 cxx=$3
surface=$root/tests/conformance/surface.json
rows() { sed -n "$1" "$surface"; }
operations=$(rows 's/.*"name":"\([a-z_]*\)","number":\([0-9]*\),.*"wire_name":"\([A-Z_]*\)".*/\1 \2 \3/p')
codes=$(rows 's/.*{"code":"\([A-Z_]*\)",.*"number":\([0-9]*\),.*/\1 \2/p')
kinds=$(rows 's/.*{"exit_code":\([0-9]*\),"kind":"\([a-z_]*\)".*/\2 \1/p')
options=$(rows 's/.*"for":"[a-z]*","form":"\([a-z ]*\)".*"name":"\([a-z_]*\)"},\{0,1\}$/\2 \1/p')
[ "$(wc -l <<<"$options")" -gt 20 ] && [ "$(wc -l <<<"$operations")" -gt 20 ] && [ "$(wc -l <<<"$codes")" -gt 15 ] && [ "$(wc -l <<<"$kinds")" -gt 8 ] || {
    echo "c: surface.json is not what check_surface.sh reads" >&2
    exit 1
}
{
    echo '#include "rstmdb.h"'
    echo 'int main(void) {'
    while read -r name number wire; do
        echo "_Static_assert(RSTMDB_OPERATION_$wire == $number, \"$wire\"); (void)rstmdb_$name;"
    done <<<"$operations"
    while read -r code number; do
        echo "_Static_assert(RSTMDB_ERROR_$code == $number, \"$code\");"
    done <<<"$codes"
    while read -r kind number; do
        echo "_Static_assert(RSTMDB_KIND_$(tr a-z A-Z <<<"$kind") == $number, \"$kind\");"
    done <<<"$kinds"
    echo 'return 0; }'
} | $cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -x c -
{
    echo '#include "rstmdb.hpp"'
    echo 'void each(const rstmdb::Database &db) {'
    while read -r name number wire; do
        type=$(awk -F_ '{ for (i = 1; i <= NF; i++) printf "%s%s", toupper(substr($i, 1, 1)), substr($i, 2) }' <<<"$name")
        echo "static_assert(static_cast<int>(rstmdb::Operation::$type) == $number);"
        echo "(void)db.$name(rstmdb::${type}Request{}); (void)db.${name}_async(rstmdb::${type}Request{});"
    done <<<"$operations"
    while read -r code number; do
        type=$(awk -F_ '{ for (i = 1; i <= NF; i++) printf "%s%s", substr($i, 1, 1), tolower(substr($i, 2)) }' <<<"$code")
        echo "static_assert(static_cast<int>(rstmdb::ErrorCode::$type) == $number);"
    done <<<"$codes"
    while read -r kind number; do
        type=$(awk -F_ '{ for (i = 1; i <= NF; i++) printf "%s%s", toupper(substr($i, 1, 1)), substr($i, 2) }' <<<"$kind")
        echo "static_assert(static_cast<int>(rstmdb::ErrorKind::$type) == $number);"
        echo "static_assert(std::is_base_of_v<rstmdb::Error, rstmdb::${type}Error>);"
    done <<<"$kinds"
    while read -r name form; do
        [ "$form" != milliseconds ] || name=${name%_ms}
        echo "static_assert(std::is_member_object_pointer_v<decltype(&rstmdb::Options::$name)>);"
    done <<<"$options"
    echo '}'
} | $cxx -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -x c++ -
while read -r name form; do
    grep -q "^| \`$name\` |" "$root/include/README.md" || {
        echo "c: include/README.md does not list the option $name; run make generate" >&2
        exit 1
    }
done <<<"$options"
