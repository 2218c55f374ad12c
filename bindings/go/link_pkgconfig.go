//go:build rstmdb_pkgconfig

package rstmdb

// Whatever pkg-config finds: the shared library where there is one, else the static one with what it
// needs of the system.

// #cgo pkg-config: --static rstmdb
import "C"
