package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestItRuns(t *testing.T) {
	for _, url := range []string{"mem:", filepath.Join(t.TempDir(), "data")} {
		os.Args = []string{"quickstart", url}
		main()
	}
}

// The README shows this program; it runs because this one does.
func TestItIsTheQuickStartOfTheREADME(t *testing.T) {
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "bindings", "go", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(program), "package main\n")
	if !strings.Contains(string(readme), "```go\npackage main\n"+body+"```") {
		t.Error("bindings/go/README.md does not show examples/go/quickstart/main.go from its package line on")
	}
}
