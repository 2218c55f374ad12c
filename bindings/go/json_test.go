package rstmdb

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

// What this package reads and writes is what encoding/json reads and writes, but for integers.
func FuzzJSONIsThatOfTheStandardLibrary(f *testing.F) {
	for _, text := range []string{
		`null`, `true`, `{"a": [1, 2.5, "x", null, false, {}], "b": -0.0, "c": 1e300}`, `"\u00e9\n\"\\\ud83d\ude00\ud800x"`,
		`[18446744073709551615, 18446744073709551616, -9223372036854775808, -9223372036854775809]`, ` [ ] `, `{"a":{"a":{"":""}}}`,
		`{`, `[1,`, `tru`, `01`, `"\x"`, `1 2`, `{"a" 1}`, `[1 2]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var expected any
		if !json.Valid([]byte(text)) || decoder.Decode(&expected) != nil {
			// The core sends valid JSON; other text must only not end the program.
			d := decoderOf(text)
			d.value()
			_ = d.finish()
			d = decoderOf(text)
			d.pass()
			_ = d.finish()
			return
		}
		d := decoderOf(text)
		got := d.value()
		if err := d.finish(); err != nil {
			if !strings.Contains(err.Error(), "a number") {
				t.Fatal(err)
			}
			return
		}
		passed := decoderOf(text)
		passed.pass()
		if err := passed.finish(); err != nil {
			t.Fatal(err)
		}
		written, err := appendValue(nil, got, 0)
		if err != nil {
			t.Fatal(err)
		}
		var again any
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		var floats any
		if err := json.Unmarshal([]byte(text), &floats); err != nil {
			t.Skip("a number that no float64 holds")
		}
		if !reflect.DeepEqual(again, floats) {
			t.Errorf("%s became %s", text, written)
		}
		checkNumbers(t, expected, got)
	})
}

func decoderOf(text string) decoder { return decoder{text: text} }

// checkNumbers looks for the exact text of integers.
func checkNumbers(t *testing.T, expected, got any) {
	switch expected := expected.(type) {
	case json.Number:
		switch got := got.(type) {
		case int64, uint64:
			if text, _ := json.Marshal(got); string(text) != string(expected) && string(expected) != "-0" {
				t.Errorf("%s became %s", expected, text)
			}
		}
	case []any:
		for i, item := range expected {
			checkNumbers(t, item, got.([]any)[i])
		}
	case map[string]any:
		for name, item := range expected {
			checkNumbers(t, item, got.(map[string]any)[name])
		}
	}
}

func TestValuesAreWrittenAsJSON(t *testing.T) {
	type inner struct {
		A int `json:"a"`
	}
	for expected, value := range map[string]any{
		`{"a":1,"b":[true,null,"x"],"c":2.0}`: map[string]any{"c": 2.0, "a": 1, "b": []any{true, nil, "x"}},
		`1e+300`:                              1e300,
		`-0.0`:                                math.Copysign(0, -1),
		`100000.0`:                            1e5,
		`{"a":5}`:                             inner{5},
		`[{"a":5}]`:                           []inner{{5}},
		`"\u0000\u001f\n\t\r\"\\/é"`:          "\x00\x1f\n\t\r\"\\/é",
		`null`:                                (map[string]any)(nil),
		`["a"]`:                               []string{"a"},
		`18446744073709551615`:                uint64(math.MaxUint64),
		`7`:                                   int8(7),
	} {
		written, err := appendValue(nil, value, 0)
		if err != nil || string(written) != expected {
			t.Errorf("%#v became %s, %v; expected %s", value, written, err, expected)
		}
		if !json.Valid(written) {
			t.Errorf("%s is not JSON", written)
		}
	}
}

// encoding/json writes floats as digits, which the core takes for integers.
func TestFloatsOfStructsStayFloatsBeyond64Bits(t *testing.T) {
	type numbers struct {
		A float64     `json:"a"`
		B float32     `json:"b"`
		C []float64   `json:"c"`
		D uint64      `json:"d"`
		E string      `json:"e"`
		F *big.Int    `json:"f"`
		G json.Number `json:"g"`
	}
	large, _ := new(big.Int).SetString("-18446744073709551616", 10)
	written, err := appendValue(nil, numbers{
		1e20, 1e20, []float64{-1e19, 1 << 64, 1e17, -1e300}, math.MaxUint64, "\"100000000000000000000", large, "18446744073709551617",
	}, 0)
	expected := `{"a":1e+20,"b":1e+20,"c":[-1e+19,1.8446744073709552e+19,100000000000000000,-1e+300],"d":18446744073709551615,` +
		`"e":"\"100000000000000000000","f":-18446744073709551616,"g":18446744073709551617}`
	if err != nil || string(written) != expected {
		t.Errorf("%s, %v", written, err)
	}
}

func TestKeptNamesDoNotKeepAPage(t *testing.T) {
	page := `{"instances":[` + strings.Repeat(`{"id":"x","machine":"m","version":1,"state":"s"},`, 500)
	page = strings.TrimSuffix(page, ",") + `],"total":500}`
	var result ListInstancesResult
	if err := json.Unmarshal([]byte(page), &result); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(result)
	if err != nil || len(result.Instances) != 500 || !bytes.Contains(back, []byte(`"id":"x"`)) {
		t.Errorf("%v, %d", err, len(result.Instances))
	}
}
