//go:build !cgo

package rstmdb

// Not a number, so that a build without cgo ends with one error, which says what to do.
const _ int = "rstmdb needs cgo: set CGO_ENABLED=1 and have a C compiler (gcc or clang); to cross-compile set CC to one for the target; see Linking in the README of github.com/rstmdb/rstmdb/bindings/go"
