//go:build cgo

package rstmdb

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// An appender writes itself as JSON to the end of a buffer.
type appender interface {
	appendJSON(b []byte) ([]byte, error)
}

// The core refuses values that nest more deeply than 120; this bound only ends values that contain
// themselves.
const encodeDepthMax = 1000

const hex = "0123456789abcdef"

// appendText writes a string. What is not UTF-8 stays as it is: the core refuses it, where
// encoding/json would silently replace it.
func appendText(b []byte, text string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	b = append(b, text[from:]...)
	return append(b, '"')
}

// appendValue writes a Go value as JSON: the types that contexts are made of here, all others by
// encoding/json. Members of maps are sorted, so that the core finds its canonical form.
func appendValue(b []byte, value any, depth int) ([]byte, error) {
	if depth > encodeDepthMax {
		return b, invalidRequest("a value nests more than " + strconv.Itoa(encodeDepthMax) + " deep; does it contain itself?")
	}
	switch value := value.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, value), nil
	case string:
		return appendText(b, value), nil
	case int:
		return strconv.AppendInt(b, int64(value), 10), nil
	case int32:
		return strconv.AppendInt(b, int64(value), 10), nil
	case int64:
		return strconv.AppendInt(b, value, 10), nil
	case uint:
		return strconv.AppendUint(b, uint64(value), 10), nil
	case uint32:
		return strconv.AppendUint(b, uint64(value), 10), nil
	case uint64:
		return strconv.AppendUint(b, value, 10), nil
	case float64:
		return appendFloat(b, value)
	case map[string]any:
		return appendMap(b, value, depth)
	case []any:
		return appendList(b, value, depth)
	case []string:
		b = append(b, '[')
		for i, item := range value {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, item)
		}
		return append(b, ']'), nil
	case json.RawMessage:
		if value == nil {
			return append(b, "null"...), nil
		}
		// Text that is not one value could change what stands around it.
		if !json.Valid(value) {
			return b, invalidRequest("a json.RawMessage is not exactly one JSON value")
		}
		return append(b, value...), nil
	case *MachineDefinition:
		if value == nil {
			return append(b, "null"...), nil
		}
		return value.appendJSON(b)
	case MachineDefinition:
		return value.appendJSON(b)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return b, invalidRequest(err.Error())
	}
	if _, isExact := value.(json.Number); isExact {
		return append(b, text...), nil
	}
	return appendMarshalled(b, text), nil
}

// Digits of the largest integers of 64 bits, without a sign.
const integerDigits = 19

// appendMarshalled writes the text of encoding/json, which writes floats up to 1e21 as digits alone. Beyond 64
// bits the core would take them for integers, and refuse those.
func appendMarshalled(b, text []byte) []byte {
	from := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '-' || '0' <= c && c <= '9':
			start := i
			for i+1 < len(text) && isOfNumber(text[i+1]) {
				i++
			}
			if i-start < integerDigits-1 {
				continue
			}
			digits := string(text[start : i+1])
			number, err := strconv.ParseFloat(digits, 64)
			is64 := math.Abs(number) < 1<<63 || 0 < number && number < 1<<64
			if err == nil && !is64 && strconv.FormatFloat(number, 'f', -1, 64) == digits {
				b = append(b, text[from:start]...)
				b = strconv.AppendFloat(b, number, 'e', -1, 64)
				from = i + 1
			}
		}
	}
	return append(b, text[from:]...)
}

func isOfNumber(c byte) bool {
	return '0' <= c && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

func appendMap(b []byte, value map[string]any, depth int) ([]byte, error) {
	if value == nil {
		return append(b, "null"...), nil
	}
	var few [16]string
	keys := few[:0]
	for key := range value {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var err error
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, key), ':')
		if b, err = appendValue(b, value[key], depth+1); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func appendList(b []byte, value []any, depth int) ([]byte, error) {
	if value == nil {
		return append(b, "null"...), nil
	}
	var err error
	b = append(b, '[')
	for i, item := range value {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, item, depth+1); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// appendFloat writes the shortest text that gives the same number back, and keeps it a number that
// is not an integer for the core, which tells 2 from 2.0.
func appendFloat(b []byte, value float64) ([]byte, error) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return b, invalidRequest("JSON has no " + strconv.FormatFloat(value, 'g', -1, 64))
	}
	format := byte('f')
	if size := math.Abs(value); size != 0 && (size < 1e-6 || size >= 1e16) {
		format = 'e'
	}
	start := len(b)
	b = strconv.AppendFloat(b, value, format, -1, 64)
	for _, c := range b[start:] {
		if c == '.' || c == 'e' {
			return b, nil
		}
	}
	return append(b, '.', '0'), nil
}

// appendRaw writes what came as text, or a value that someone made.
func appendRaw(b []byte, text string, value any) ([]byte, error) {
	if text != "" {
		return append(b, text...), nil
	}
	return appendValue(b, value, 0)
}

// rawMessage is what came as text, or the text of a value that someone made; nil without either.
func rawMessage(text string, value any) json.RawMessage {
	if text != "" {
		return json.RawMessage(text)
	}
	if fields, ok := value.(map[string]any); ok && fields == nil {
		return nil
	}
	made, err := appendValue(nil, value, 0)
	if err != nil {
		return nil
	}
	return made
}

func trimComma(b []byte) []byte {
	if b[len(b)-1] == ',' {
		return b[:len(b)-1]
	}
	return b
}

func forced(fields []string, name string) bool {
	return len(fields) > 0 && slices.Contains(fields, name)
}
