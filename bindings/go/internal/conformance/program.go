package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// runPrograms runs every program of a folder and writes its answers.
func runPrograms(folder, out string, tell func(name, outcome, message string)) error {
	files, err := filepath.Glob(filepath.Join(folder, "seed-*.json"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, path := range files {
		stem := strings.TrimSuffix(filepath.Base(path), ".json")
		if err := runProgram(path, filepath.Join(out, stem+".jsonl")); err != nil {
			tell("programs/"+stem, "failed", err.Error())
		} else {
			tell("programs/"+stem, "passed", "")
		}
	}
	return nil
}

func runProgram(path, out string) error {
	ctx := context.Background()
	program, err := readFile(path)
	if err != nil {
		return err
	}
	p, err := open(ctx, program["options"].(object))
	if err != nil {
		return err
	}
	defer p.remove()
	watches := map[string]*rstmdb.Subscription{}
	var answers strings.Builder
	for _, item := range program["steps"].([]any) {
		answer, err := stepAnswer(ctx, p, item.(object), watches)
		if err != nil {
			return err
		}
		answers.WriteString(canonical(answer))
		answers.WriteByte('\n')
	}
	return os.WriteFile(out, []byte(answers.String()), 0o644)
}

// answerCalls answers steps as they come, until there are no more.
func answerCalls(url string) error {
	ctx := context.Background()
	if err := readSurface(surface()); err != nil {
		return err
	}
	db, err := rstmdb.Open(ctx, url)
	if err != nil {
		return err
	}
	p := &place{db: db}
	defer p.remove()
	watches := map[string]*rstmdb.Subscription{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		step, err := parse(lines.Bytes())
		if err != nil {
			return err
		}
		answer, err := stepAnswer(ctx, p, step.(object), watches)
		if err != nil {
			return err
		}
		fmt.Println(canonical(answer))
	}
	return lines.Err()
}

func stepAnswer(ctx context.Context, p *place, step object, watches map[string]*rstmdb.Subscription) (any, error) {
	name, _ := step["watch"].(string)
	args, given := step["args"]
	if !given {
		args = object{}
	}
	switch op := step["op"].(string); op {
	case "REOPEN":
		if target() == "mem:" {
			return nil, nil
		}
		return nil, p.reopen(ctx)
	case "ADVANCE_CLOCK":
		ms, err := step["ms"].(json.Number).Int64()
		if err != nil {
			return nil, err
		}
		return nil, p.advance(ms)
	case "EVENTS":
		count, err := step["count"].(json.Number).Int64()
		events := []any{}
		for range count {
			event, err := nextEvent(watches[name])
			if err != nil {
				return nil, err
			}
			events = append(events, comparison(event))
		}
		return events, err
	case "WATCH_ALL", "WATCH_INSTANCE":
		sub, result, err := watch(ctx, p.db, op, args)
		if err == nil {
			watches[name] = sub
		}
		return answer(step, result, err)
	default:
		return pages(ctx, p, step, op, args)
	}
}

// pages runs an operation, and where the step says so, for every page.
func pages(ctx context.Context, p *place, step object, op string, args any) (any, error) {
	all := []any{}
	for {
		result, err := call(ctx, p.db, op, args)
		one, problem := answer(step, result, err)
		if problem != nil || step["pages"] != true {
			return one, problem
		}
		all = append(all, one)
		found, _ := result.(object)
		cursor, more := found["next_cursor"]
		if err != nil || !more || cursor == nil {
			return all, nil
		}
		next := object{"cursor": cursor}
		for name, value := range args.(object) {
			if name != "cursor" {
				next[name] = value
			}
		}
		args = next
	}
}

// answer is what is written for a result or an error.
func answer(step object, result any, err error) (any, error) {
	if err != nil {
		found, known := errorOf(err)
		if !known {
			return nil, err
		}
		reduced := reducedError(found)
		if context, ok := found["context"].(object); ok && context["index"] != nil {
			reduced["index"] = context["index"]
		}
		return object{"error": reduced}, nil
	}
	if keep, some := step["keep"].([]any); some {
		kept := object{}
		for name, value := range result.(object) {
			if slices.Contains(keep, any(name)) {
				kept[name] = value
			}
		}
		result = kept
	}
	return comparison(result), nil
}

func reducedError(found object) object {
	return object{
		"code": found["code"], "kind": found["kind"],
		"reason": found["reason"], "retryable": found["retryable"],
	}
}

// comparison leaves out what may differ from one language or target to the next.
func comparison(value any) any {
	switch value := value.(type) {
	case object:
		if value["code"] != nil && value["kind"] != nil {
			return reducedError(value)
		}
		kept := object{}
		for name, inner := range value {
			switch name {
			case "message":
			case "next_cursor", "history_id":
				kept[name] = true
			case "ctx", "payload", "initial_ctx", "definition":
				kept[name] = inner
			default:
				kept[name] = comparison(inner)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(value))
		for i, item := range value {
			kept[i] = comparison(item)
		}
		return kept
	}
	return value
}
