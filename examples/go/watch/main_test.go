package main

import (
	"path/filepath"
	"testing"
)

func TestItRuns(t *testing.T) {
	for _, url := range []string{"mem:", filepath.Join(t.TempDir(), "data")} {
		if err := run(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
}
