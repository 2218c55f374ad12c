//go:build rstmdb_pkgconfig

package rstmdb

// Whatever pkg-config says: the shared library where there is one, and with the tag
// rstmdb_shared left out also what a static one needs.

// #cgo rstmdb_shared pkg-config: rstmdb
// #cgo !rstmdb_shared pkg-config: --static rstmdb
import "C"
