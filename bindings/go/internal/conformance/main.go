// Command conformance runs the conformance scenarios and programs through the Go module;
// tests/conformance/SPEC.md says what it must do.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A report is one line of output.
type report struct {
	Scenario string `json:"scenario"`
	Outcome  string `json:"outcome"`
	Message  string `json:"message"`
}

type sums struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

func main() {
	if url := os.Getenv("RSTMDB_URL"); url != "" {
		if err := answerCalls(url); err != nil {
			fmt.Fprintln(os.Stderr, "conformance:", err)
			os.Exit(2)
		}
		return
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	var all sums
	tell := func(name, outcome, message string) {
		switch outcome {
		case "passed":
			all.Passed++
		case "failed":
			all.Failed++
		default:
			all.Skipped++
		}
		_ = out.Encode(report{name, outcome, message})
	}
	if err := run(tell); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	_ = out.Encode(all)
	if all.Failed > 0 || all.Passed == 0 {
		os.Exit(1)
	}
}

func run(tell func(name, outcome, message string)) error {
	if err := readSurface(surface()); err != nil {
		return err
	}
	if folder := os.Getenv("RSTMDB_PROGRAMS"); folder != "" {
		return runPrograms(folder, os.Getenv("RSTMDB_OUT"), tell)
	}
	folder := os.Getenv("RSTMDB_SCENARIOS")
	if err := runScenarios(folder, tell); err != nil || !strings.Contains("values/table", os.Getenv("RSTMDB_SCENARIO")) {
		return err
	}
	if err := runTable(filepath.Join(folder, "..", "values.json")); err != nil {
		tell("values/table", "failed", err.Error())
	} else {
		tell("values/table", "passed", "")
	}
	return nil
}

func surface() string {
	return filepath.Join(os.Getenv("RSTMDB_SCENARIOS"), "..", "surface.json")
}

func runScenarios(folder string, tell func(name, outcome, message string)) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("RSTMDB_SCENARIOS is %q, a folder without scenarios", folder)
	}
	slices.Sort(files)
	for _, path := range files {
		file, err := readFile(path)
		if err != nil {
			return err
		}
		stem := strings.TrimSuffix(filepath.Base(path), ".json")
		values, _ := file["values"].(object)
		for _, item := range file["scenarios"].([]any) {
			scenario := item.(object)
			name := stem + "/" + scenario["name"].(string)
			if !strings.Contains(name, os.Getenv("RSTMDB_SCENARIO")) {
				continue
			}
			if why := cannot(scenario); why != "" {
				tell(name, "skipped", why)
			} else if err := runScenario(scenario, values); err != nil {
				tell(name, "failed", err.Error())
			} else {
				tell(name, "passed", "")
			}
		}
	}
	return nil
}

// cannot says why the target can't run a scenario, if so.
func cannot(scenario object) string {
	requires, _ := scenario["requires"].([]any)
	if slices.Contains(requires, any("reopen")) && target() == "mem:" {
		return "the target can't be reopened"
	}
	return ""
}

func target() string { return os.Getenv("RSTMDB_TARGET") }

func readFile(path string) (object, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	value, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	file, ok := value.(object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", path)
	}
	return file, nil
}
