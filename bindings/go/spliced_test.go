package rstmdb_test

import (
	"encoding/json"
	"strings"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// ready writes itself; encoding/json looks at what it wrote.
type ready string

func (r ready) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestTextThatIsNotOneValueIsRefusedByItsMember(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	for _, text := range []string{
		`{"x":1},"idempotency_key":"forged"`, `{"x":1}} `, `{"x":1} {"y":2}`, `{"x":1}]`, `{"x":1`, `{"x":`, `1,2`,
		`{"x":1} // why`, `/* why */ {}`, `{'x':1}`, `{"x":1,}`, ``, ` `, "\x00", `nul`, `"open`, `01`, `+1`, `NaN`, `{x:1}`,
		`{"x":1},"instance_id":"loop-1"`,
	} {
		for _, value := range []any{json.RawMessage(text), map[string]any{"deep": []any{json.RawMessage(text)}}, ready(text)} {
			definition := map[string]any{"states": []string{"a"}, "initial": "a", "transitions": []any{}, "meta": value}
			batched := rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: "loop-1", Event: "E", Payload: value})
			for member, call := range map[string]func() error{
				"payload": func() error { return applyTo(db, "order-1", "PAY", value) },
				"initial_ctx": func() error {
					_, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "loop", Version: 1, InitialCtx: value})
					return err
				},
				"definition": func() error {
					_, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "new", Version: 1, Definition: definition})
					return err
				},
				"ops[1].params.payload": func() error {
					_, err := db.Batch(ctx, rstmdb.BatchBestEffort, []rstmdb.BatchOperation{rstmdb.BatchGetInstance(rstmdb.GetInstanceRequest{InstanceID: "loop-1"}), batched})
					return err
				},
			} {
				failure := refused(t, call())
				if failure.Kind != rstmdb.KindInvalid || !strings.HasPrefix(failure.Message, member+": ") {
					t.Errorf("%q in %s: %v", text, member, failure)
				}
				if failure.Context["field"] != member {
					t.Errorf("%q in %s: %v", text, member, failure.Context)
				}
			}
		}
		// A whole request as text is no part of another one, and one value all the same.
		if text != "" && text != " " {
			if _, err := db.Call(ctx, rstmdb.OpApplyEvent, json.RawMessage(text)); err == nil {
				t.Errorf("%q was taken as a request", text)
			}
		}
	}
	info, err := db.Info(ctx)
	if err != nil || info.Instances != 2 || info.Machines != 2 {
		t.Errorf("something was done: %+v %v", info, err)
	}
	got, err := db.GetInstance(ctx, "loop-1")
	if err != nil || got.LastWALOffset > 4 {
		t.Errorf("%+v %v", got, err)
	}
	// What is text for the caller stays text.
	if err := applyTo(db, "loop-1", "E", map[string]any{"x": `1},"idempotency_key":"forged"`}); err != nil {
		t.Error(err)
	}
}

func TestAMemberThatDoesNotFitIsNamed(t *testing.T) {
	db := opened(t, "mem:")
	for request, expected := range map[string]struct {
		op      rstmdb.Operation
		message string
	}{
		`{"machine":"loop","version":"1"}`: {rstmdb.OpCreateInstance, `version must be a whole number from 0 to 4294967295, not the string "1"`},
		`{"instance_id":7}`:                {rstmdb.OpGetInstance, "instance_id must be a string, not 7"},
		`{}`:                               {rstmdb.OpGetInstance, "instance_id is missing"},
		`{"ops":[{"op":"GET_INSTANCE","params":{"instance_id":[]}}]}`: {rstmdb.OpBatch, "ops[0].params.instance_id must be a string, not a list"},
	} {
		_, err := db.Call(t.Context(), expected.op, json.RawMessage(request))
		if failure := refused(t, err); !strings.Contains(failure.Message, expected.message) || failure.Context["field"] == nil {
			t.Errorf("%s: %v", request, failure)
		}
	}
}
