#!/bin/bash
# Lays out what is installed of C and C++ and packs it:
#   package.sh ROOT TARGET_DIR FOLDER VERSION ABI SHARED SHARED_ABI "SYSTEM LIBRARIES"
set -euo pipefail
root=$1 target=$2 folder=$3 version=$4 abi=$5 shared=$6 shared_abi=$7 system_libs=$8

rm -rf "$folder" "$folder.tar.gz"
mkdir -p "$folder"/{include,lib/pkgconfig,lib/cmake/rstmdb,share/doc/rstmdb}
cp "$root"/include/rstmdb.h "$root"/include/rstmdb.hpp "$folder/include/"
cp "$root"/include/README.md "$root"/LICENSE "$root"/NOTICE "$folder/share/doc/rstmdb/"
cp "$target/release/librstmdb.a" "$folder/lib/"
if [ "$(uname)" = Darwin ]; then
    full=librstmdb.$version.dylib
else
    full=librstmdb.so.$version
fi
cp "$target/release/$shared" "$folder/lib/$full"
# What debuggers need stays; what only links need in the archive is most of its size.
strip -S "$folder/lib/$full" "$folder/lib/librstmdb.a"
ln -s "$full" "$folder/lib/$shared_abi"
ln -s "$shared_abi" "$folder/lib/$shared"
for template in rstmdb.pc.in rstmdbConfig.cmake.in rstmdbConfigVersion.cmake.in; do
    name=${template%.in}
    case $name in
    *.pc) place=$folder/lib/pkgconfig/$name ;;
    *) place=$folder/lib/cmake/rstmdb/$name ;;
    esac
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@SYSTEM_LIBS@|$system_libs|g" \
        -e "s|@SHARED@|$full|g" -e "s|@SHARED_ABI@|$shared_abi|g" "$root/bindings/c/$template" >"$place"
done
tar -C "$(dirname "$folder")" -czf "$folder.tar.gz" "$(basename "$folder")"
