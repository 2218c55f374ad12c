#!/bin/bash
# Unpacks the package into an empty folder outside the repository, and there compiles and runs the
# quick starts and the workers as a user would: package_try.sh ROOT TARGET_DIR PACKAGE
# With pkg-config, shared and static; with CMake where it is installed; embedded and on a server.
set -euo pipefail
root=$1 target=$2 package=$3
runner=$root/bindings/c/run_example.sh
folder=$(mktemp -d)
server=
# Ends the server, whatever happened.
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
tar -C "$folder" -xzf "$package"
prefix=$(echo "$folder"/rstmdb-c-*)
cp "$root"/examples/c/* "$folder/"
cd "$folder"

command -v pkg-config >/dev/null || {
    echo "make: pkg-config is missing; get it from the system's packages (apt-get install pkg-config)" >&2
    exit 1
}
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cc=${CC:-cc} cxx=${CXX:-c++}
shared="$(pkg-config --cflags --libs rstmdb) -Wl,-rpath,$prefix/lib"
# The archive by name: -lrstmdb would take the shared library beside it.
static="$(pkg-config --cflags rstmdb) $prefix/lib/librstmdb.a $(pkg-config --static --libs rstmdb | sed 's/-lrstmdb//')"
warnings="-Wall -Wextra -Werror"
for name in quick_start worker; do
    for kind in shared static; do
        $cc -std=c11 $warnings $name.c -o "${name}_$kind" ${!kind}
        $cxx -std=c++17 $warnings $name.cpp -o "${name}_cpp_$kind" ${!kind}
    done
done
if [ "$(uname)" = Linux ]; then
    readelf -d quick_start_shared | grep -q 'NEEDED.*librstmdb.so.[0-9]' || { echo "package: librstmdb has no soname" >&2; exit 1; }
    "$root/bindings/c/bare_root.sh" ./quick_start_static >/dev/null
fi
if command -v cmake >/dev/null; then
    # Before 1.0 each minor version is another.
    version=${prefix##*/rstmdb-c-}
    cat >CMakeLists.txt <<CMAKE
cmake_minimum_required(VERSION 3.16)
project(try C CXX)
find_package(rstmdb $(cut -d. -f1,2 <<<"$version") REQUIRED)
find_package(Threads REQUIRED)
set(CMAKE_CXX_STANDARD 17)
add_executable(quick_start_cmake quick_start.c)
target_link_libraries(quick_start_cmake rstmdb::rstmdb)
add_executable(quick_start_cpp_cmake quick_start.cpp)
target_link_libraries(quick_start_cpp_cmake rstmdb::static)
CMAKE
    cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" >cmake.log 2>&1 && cmake --build build >>cmake.log 2>&1 || { cat cmake.log >&2; exit 1; }
    cp build/quick_start_cmake build/quick_start_cpp_cmake .
fi

for program in quick_start_* worker_*; do
    case $program in *.c | *.cpp) continue ;; esac
    "$runner" "./$program"
    echo "package: $program, embedded"
done

# Each program on a server of its own, which is empty.
# In the repository, whose toolchain it takes.
(cd "$root" && cargo build --quiet --locked --package rstmdb-server)
for program in quick_start_shared quick_start_cpp_static worker_shared worker_cpp_static; do
    data=$(mktemp -d "$folder/data.XXXXXX")
    mkfifo "$data.log"
    RSTMDB_BIND=127.0.0.1:0 RSTMDB_METRICS_ENABLED=false "$target/debug/rstmdb" --data "$data" >"$data.log" 2>&1 &
    server=$!
    url=
    # The server says where it listens as soon as it does.
    exec 3<"$data.log"
    while [ -z "$url" ] && read -r line <&3; do
        address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' <<<"$line")
        [ -z "$address" ] || url=rstmdb://$address
    done
    [ -n "$url" ] || { echo "package: the server did not start" >&2; exit 1; }
    "$runner" "./$program" "$url"
    echo "package: $program, on a server"
    kill "$server"
    wait "$server" || true
    exec 3<&-
    server=
done
