package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// A row of the table of values, as SPEC.md has it.
type row struct {
	Name    string
	Text    string
	Stored  *string
	Refused struct {
		Path   *string
		Reason string
		Said   string
	}
	Native map[string]json.RawMessage
}

func runTable(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var table struct{ Values []row }
	if err := json.Unmarshal(text, &table); err != nil {
		return err
	}
	ctx := context.Background()
	p, err := open(ctx, object{})
	if err != nil {
		return err
	}
	defer p.remove()
	kept := rstmdb.MachineDefinition{States: []string{"kept"}, Initial: "kept",
		Transitions: []rstmdb.Transition{{From: rstmdb.StringOrSlice{"kept"}, Event: "SET", To: "kept"}}}
	_, err = p.db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "values", Version: 1, Definition: kept})
	if err != nil {
		return err
	}
	_, err = p.db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{InstanceID: "value", Machine: "values", Version: 1})
	if err != nil {
		return err
	}
	for _, row := range table.Values {
		request := fmt.Sprintf(`{"instance_id":"value","event":"SET","payload":{"v":%s}}`, row.Text)
		result, err := p.db.Call(ctx, rstmdb.OpApplyEvent, json.RawMessage(request))
		if err := row.check(string(result), err, true); err != nil {
			return fmt.Errorf("%s, as text: %w", row.Name, err)
		}
		for _, value := range row.natives() {
			result, err := p.db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{
				InstanceID: "value", Event: "SET", Payload: map[string]any{"v": value},
			})
			var got string
			if err == nil {
				got = `"ctx":` + string(result.RawCtx())
			}
			// What has no text never comes to the core, which knows the place.
			if err := row.check(got, err, false); err != nil {
				return fmt.Errorf("%s, as %T: %w", row.Name, value, err)
			}
		}
	}
	return nil
}

func (row row) check(result string, err error, isText bool) error {
	if row.Stored != nil {
		wanted := `"ctx":{"v":` + *row.Stored + `}`
		if err == nil && !strings.Contains(result, wanted) {
			err = fmt.Errorf("%s is not in %s", wanted, result)
		}
		return err
	}
	var refused *rstmdb.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("was taken: %s, %v", result, err)
	}
	reason := row.Refused.Reason
	if reason == "" {
		reason = rstmdb.ReasonInvalidRequest
	}
	fits := refused.Code == rstmdb.CodeBadRequest && refused.Reason == reason
	if isText {
		path := row.Refused.Path
		fits = fits && (path == nil || refused.Context["path"] == "payload.v"+*path) &&
			strings.Contains(refused.Message, row.Refused.Said)
	}
	if !fits {
		return fmt.Errorf("%+v is not %+v", refused, row.Refused)
	}
	return nil
}

// natives are the values of Go that the row stands for.
func (row row) natives() []any {
	for kind, value := range row.Native {
		var text string
		_ = json.Unmarshal(value, &text)
		switch kind {
		case "integer":
			return integers(text)
		case "float":
			number, _ := strconv.ParseFloat(text, 64)
			return []any{number}
		case "utf16":
			var units []string
			_ = json.Unmarshal(value, &units)
			return []any{fromUnits(units)}
		case "nested":
			depth, _ := strconv.Atoi(string(value))
			list := []any{}
			for range depth - 1 {
				list = []any{list}
			}
			return []any{list}
		default:
			var literal any
			_ = json.Unmarshal(value, &literal)
			return []any{literal}
		}
	}
	return nil
}

func integers(text string) []any {
	values := []any{json.Number(text)}
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		values = append(values, number)
	}
	if number, err := strconv.ParseUint(text, 10, 64); err == nil {
		values = append(values, number)
	}
	return values
}

// fromUnits is the text of UTF-16; half a surrogate pair gives three bytes that are no UTF-8.
func fromUnits(units []string) string {
	var text []byte
	for i := 0; i < len(units); i++ {
		code, _ := strconv.ParseUint(units[i], 16, 32)
		if code >= 0xd800 && code < 0xdc00 && i+1 < len(units) {
			if low, _ := strconv.ParseUint(units[i+1], 16, 32); low >= 0xdc00 && low < 0xe000 {
				text = append(text, string(rune(0x10000+(code-0xd800)<<10+low-0xdc00))...)
				i++
				continue
			}
		}
		if code >= 0xd800 && code < 0xe000 {
			text = append(text, 0xe0|byte(code>>12), 0x80|byte(code>>6&0x3f), 0x80|byte(code&0x3f))
		} else {
			text = append(text, string(rune(code))...)
		}
	}
	return string(text)
}
