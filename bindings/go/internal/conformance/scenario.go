package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// How long an event that must come may take; only a hanging run waits that long.
const eventTimeout = 10 * time.Second

// An execution is a scenario on its way.
type execution struct {
	place   *place
	saved   object
	watches map[string]*rstmdb.Subscription
}

func runScenario(scenario, values object) error {
	ctx := context.Background()
	options, _ := scenario["options"].(object)
	p, err := open(ctx, options)
	if err != nil {
		return err
	}
	defer p.remove()
	r := execution{place: p, saved: object{}, watches: map[string]*rstmdb.Subscription{}}
	for name, value := range values {
		r.saved[name] = value
	}
	for i, step := range scenario["steps"].([]any) {
		if err := r.step(ctx, step.(object)); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (r *execution) step(ctx context.Context, step object) error {
	op := step["op"].(string)
	switch op {
	case "REOPEN":
		clear(r.watches)
		return r.place.reopen(ctx)
	case "ADVANCE_CLOCK":
		ms, err := step["ms"].(json.Number).Int64()
		if err != nil {
			return err
		}
		return r.place.advance(ms)
	case "EXPECT_EVENTS":
		return r.expectEvents(step)
	}
	args, given := step["args"]
	if !given {
		args = object{}
	}
	result, err := r.call(ctx, op, r.made(args), step)
	if expected, fails := step["error"]; fails {
		if err == nil {
			return fmt.Errorf("%s succeeded: %s", op, canonical(result))
		}
		got, known := errorOf(err)
		if !known {
			return err
		}
		return different(expected, got, "error", r.saved)
	}
	if err != nil {
		return fmt.Errorf("%s failed: %w", op, err)
	}
	if expected, any := step["expect"]; any {
		if err := different(expected, result, "result", r.saved); err != nil {
			return err
		}
	}
	return r.save(step, result)
}

func different(expected, got any, path string, saved object) error {
	if problem := difference(expected, got, true, path, saved); problem != "" {
		return fmt.Errorf("%s\n  in %s", problem, canonical(got))
	}
	return nil
}

func (r *execution) call(ctx context.Context, op string, args any, step object) (any, error) {
	if op != "WATCH_ALL" && op != "WATCH_INSTANCE" {
		return call(ctx, r.place.db, op, args)
	}
	sub, result, err := watch(ctx, r.place.db, op, args)
	if name, named := step["watch"].(string); named && err == nil {
		r.watches[name] = sub
	}
	return result, err
}

func (r *execution) save(step object, result any) error {
	names, _ := step["save"].(object)
	for name, path := range names {
		value := result
		for _, part := range strings.FieldsFunc(path.(string), func(c rune) bool { return c == '.' }) {
			switch inner := value.(type) {
			case object:
				value = inner[part]
			case []any:
				index, err := strconv.Atoi(part)
				if err != nil || index >= len(inner) {
					return fmt.Errorf("nothing at %q to save in %s", path, canonical(result))
				}
				value = inner[index]
			default:
				return fmt.Errorf("nothing at %q to save in %s", path, canonical(result))
			}
		}
		r.saved[name] = value
	}
	return nil
}

func (r *execution) expectEvents(step object) error {
	name := step["watch"].(string)
	sub, known := r.watches[name]
	if !known {
		return fmt.Errorf("no watch %q", name)
	}
	for i, expected := range step["events"].([]any) {
		path := fmt.Sprintf("event %d of %s", i, name)
		got, err := nextEvent(sub)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := different(expected, got, path, r.saved); err != nil {
			return err
		}
	}
	return nil
}

func nextEvent(sub *rstmdb.Subscription) (any, error) {
	select {
	case event, more := <-sub.Events:
		if !more {
			return nil, fmt.Errorf("the watch has ended: %v", sub.Err())
		}
		return valueOf(event)
	case <-time.After(eventTimeout):
		return nil, fmt.Errorf("did not come")
	}
}

// made gives arguments with saved and repeated values in their places.
func (r *execution) made(args any) any {
	switch args := args.(type) {
	case object:
		if name, ok := args["$ref"].(string); ok {
			return r.saved[name]
		}
		if repeat, ok := args["$repeat"].([]any); ok {
			times, _ := repeat[1].(json.Number).Int64()
			return strings.Repeat(repeat[0].(string), int(times))
		}
		made := object{}
		for name, value := range args {
			made[name] = r.made(value)
		}
		return made
	case []any:
		made := make([]any, len(args))
		for i, item := range args {
			made[i] = r.made(item)
		}
		return made
	}
	return args
}
