package main

import (
	"path/filepath"
	"testing"
)

func TestItRunsTwiceOnOneDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	for range 2 {
		if err := run(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
}
