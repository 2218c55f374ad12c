package rstmdb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Code that a page shows must stand in a test or an example that runs.
func TestTheGuideShowsCodeThatRuns(t *testing.T) {
	root := filepath.Join("..", "..")
	running := ""
	for _, pattern := range []string{"*_test.go", filepath.Join(root, "examples", "go", "*", "*.go")} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range paths {
			running += "\n" + withoutIndent(readFile(t, path))
		}
	}
	blocks := strings.Split(readFile(t, filepath.Join(root, "docs", "guide", "go.md")), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		if !strings.Contains(running, "\n"+withoutIndent(code)) {
			t.Errorf("in no test and no example:\n%s", code)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func withoutIndent(code string) string {
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
