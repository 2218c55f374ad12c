//go:build !rstmdb_shared && !rstmdb_pkgconfig

package rstmdb

// The static library: beside this file, as in a vendor folder, in a checkout's target folder, or where the
// linker looks. What it needs of the system is what `rustc --print native-static-libs` says, but that the
// unwinder comes from the compiler's archives: images without libgcc_s run the program too.

// #cgo linux LDFLAGS: -L${SRCDIR} -L${SRCDIR}/../../target/release -L${SRCDIR}/../../target/debug -l:librstmdb.a -static-libgcc -lutil -lrt -lpthread -lm -ldl
// #cgo darwin LDFLAGS: -L${SRCDIR} -L${SRCDIR}/../../target/release -L${SRCDIR}/../../target/debug -lrstmdb -framework Security -framework CoreFoundation -liconv
// #cgo windows LDFLAGS: -L${SRCDIR} -L${SRCDIR}/../../target/release -L${SRCDIR}/../../target/debug -lrstmdb -lws2_32 -luserenv -lbcrypt -lntdll -lcrypt32 -lsecur32 -lncrypt -lkernel32
import "C"
