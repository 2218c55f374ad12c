package main

import (
	"path/filepath"
	"testing"
)

func TestItRunsTwiceInMemoryAndOnOneDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	for _, url := range []string{"mem:", path, path} {
		if err := run(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
}
