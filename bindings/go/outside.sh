#!/usr/bin/env bash
# Uses the module as its users do: from a folder outside the repository, with a library that is
# installed in some folder, the README's quick start runs embedded and on a server.
#
#   outside.sh ROOT LIBRARY-FOLDER VERSION "SYSTEM LIBRARIES"
set -euo pipefail
root=$1 library=$2 version=$3 system=$4

folder=$(mktemp -d)
host=
trap 'kill $host 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir -p "$folder/prefix/lib/pkgconfig" "$folder/prefix/include" "$folder/program"
cp "$library/librstmdb.a" "$folder/prefix/lib/"
cp "$root/include/rstmdb.h" "$folder/prefix/include/"
sed -e "s|@VERSION@|$version|" -e "s|@SYSTEM_LIBS@|$system|" "$root/bindings/c/rstmdb.pc.in" >"$folder/prefix/lib/pkgconfig/rstmdb.pc"
mkdir "$folder/module"
cp "$root"/bindings/go/*.go "$root"/bindings/go/*.[ch] "$root/bindings/go/go.mod" "$folder/module/"
rm -f "$folder"/module/*_test.go

cd "$folder/program"
sed -n '/^```go$/,/^```$/p' "$root/bindings/go/README.md" | sed '/^```/d' >main.go
cat >go.mod <<END
module example.org/program

go 1.24

require github.com/rstmdb/rstmdb/bindings/go v0.0.0

replace github.com/rstmdb/rstmdb/bindings/go => ../module
END
CGO_LDFLAGS="-L$folder/prefix/lib" go build -o static .
built=static
if command -v pkg-config >/dev/null 2>&1; then
    PKG_CONFIG_PATH="$folder/prefix/lib/pkgconfig" go build -tags rstmdb_pkgconfig -o found .
    built="static found"
fi

mkfifo hold listening
"$library/conformance_host" <hold >listening &
host=$!
exec 9>hold 7<listening
read -r first <&7
port=$(sed 's/.*:\([0-9]*\)".*/\1/' <<<"$first")
for program in $built; do
    exec 8<>"/dev/tcp/127.0.0.1/$port"
    echo '{"start": {}}' >&8
    read -r answer <&8
    url=$(sed 's/.*"url" *: *"\([^"]*\)".*/\1/' <<<"$answer")
    for place in mem: "$folder/data-$program" "$url"; do
        ./"$program" "$place" >out
        grep -q "created -> paid map\[method:card total:40\]" out
    done
    exec 8>&-
done
echo "outside: the quick start runs embedded and on a server ($built)"
