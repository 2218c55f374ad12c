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

# In a vendor folder, too: what is vendored is the whole package, headers and all, but for the library.
go mod vendor
if ! go build -mod=vendor -o installed . 2>errors; then
    grep -q 'librstmdb\.a' errors || { cat errors >&2; exit 1; }
fi
CGO_LDFLAGS="-L$folder/prefix/lib" go build -mod=vendor -o vendored .
cp "$folder/prefix/lib/librstmdb.a" vendor/github.com/rstmdb/rstmdb/bindings/go/
go build -mod=vendor -o beside .
built="$built vendored beside"

# Without cgo there is one error, which says what to do, whatever the program uses.
if CGO_ENABLED=0 go build -o none . 2>errors; then
    echo "outside: the program was built without cgo" >&2
    exit 1
fi
[ "$(grep -c '\.go:' errors)" = 1 ] && grep -q 'CGO_ENABLED=1' errors || {
    cat errors >&2
    exit 1
}

# Nothing is needed beside the C library, where images have no more.
if [ "$(uname)" = Linux ]; then
    "$root/bindings/c/bare_root.sh" ./static mem: >out
    grep -q "created -> paid" out
    if [ "$("$(go env CC)" -print-file-name=libc.a)" != libc.a ]; then
        CGO_LDFLAGS="-L$folder/prefix/lib" go build -ldflags '-linkmode external -extldflags -static' -o whole . 2>warnings || {
            cat warnings >&2
            exit 1
        }
        "$root/bindings/c/bare_root.sh" ./whole mem: >out
        grep -q "created -> paid" out
    fi
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
