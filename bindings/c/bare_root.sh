#!/bin/bash
# Runs a program in a root that holds the program, what it is linked with and nothing else, as a distroless image does:
#   bare_root.sh PROGRAM [ARGUMENT...]
# It may be linked with the C library alone; another library is an error. Needs Linux. Without root or user namespaces,
# which containers and some systems refuse, it runs among all libraries, and says so.
set -euo pipefail
program=$1
shift
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# A program without an interpreter needs nothing; ldd fails on it.
for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ )]*' || true); do
    case $(basename "$library") in
    ld-linux* | ld-musl* | libc.* | libm.* | libdl.* | libpthread.* | librt.* | libutil.*) ;;
    *)
        echo "bare_root.sh: $program needs $library" >&2
        exit 1
        ;;
    esac
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp "$program" "$root/program"
# A container has devices; what is linked whole draws random numbers from these.
mkdir "$root/dev"
touch "$root/dev/random" "$root/dev/urandom"
unshare=(unshare --mount)
[ "$(id -u)" = 0 ] || unshare+=(--map-root-user)
if "${unshare[@]}" true 2>/dev/null; then
    # shellcheck disable=SC2016
    "${unshare[@]}" bash -c 'for device in random urandom; do mount --bind "/dev/$device" "$0/dev/$device"; done; exec chroot "$0" /program "$@"' "$root" "$@"
else
    # What it is linked with was looked at above.
    echo "bare_root.sh: ${unshare[*]} does not work here; $program runs among all libraries" >&2
    "$program" "$@"
fi
