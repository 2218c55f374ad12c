package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// An object is a parsed JSON object; numbers in it are json.Number, which keeps what they are.
type object = map[string]any

func parse(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// canonical writes a value as SPEC.md's canonical JSON; equal values have equal text.
func canonical(value any) string {
	var b strings.Builder
	write(&b, value)
	return b.String()
}

func write(b *strings.Builder, value any) {
	switch value := value.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(value))
	case int:
		b.WriteString(strconv.Itoa(value))
	case json.Number:
		b.WriteString(number(string(value)))
	case string:
		writeText(b, value)
	case []any:
		b.WriteByte('[')
		for i, item := range value {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, item)
		}
		b.WriteByte(']')
	case object:
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		slices.Sort(names)
		b.WriteByte('{')
		for i, name := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			writeText(b, name)
			b.WriteByte(':')
			write(b, value[name])
		}
		b.WriteByte('}')
	default:
		panic(fmt.Sprintf("%T is not a JSON value", value))
	}
}

// number keeps integers of 64 bits as they are and writes others as the shortest text of their float.
func number(text string) string {
	if isInteger(text) {
		return text
	}
	float, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	shortest := strconv.FormatFloat(float, 'f', -1, 64)
	if !strings.Contains(shortest, ".") {
		shortest += ".0"
	}
	return shortest
}

func isInteger(text string) bool {
	whole, ok := new(big.Int).SetString(text, 10)
	return ok && (whole.IsInt64() || whole.IsUint64()) && text != "-0"
}

func writeText(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, letter := range text {
		switch letter {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(letter)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if letter < 0x20 {
				fmt.Fprintf(b, `\u%04x`, letter)
			} else {
				b.WriteRune(letter)
			}
		}
	}
	b.WriteByte('"')
}

// difference says how what came differs from what is expected; "" when it does not.
func difference(expected, got any, present bool, path string, saved object) string {
	if members, ok := expected.(object); ok {
		for word, wanted := range members {
			if strings.HasPrefix(word, "$") {
				if matches(word, wanted, got, present, path, saved) {
					return ""
				}
				return fmt.Sprintf("%s is %s, expected %s", path, shown(got, present), canonical(expected))
			}
		}
	}
	if !present {
		return fmt.Sprintf("%s is absent, expected %s", path, canonical(expected))
	}
	switch expected := expected.(type) {
	case object:
		if found, ok := got.(object); ok {
			for name, wanted := range expected {
				value, present := found[name]
				if problem := difference(wanted, value, present, path+"."+name, saved); problem != "" {
					return problem
				}
			}
			return ""
		}
	case []any:
		if found, ok := got.([]any); ok && len(found) == len(expected) {
			for i, wanted := range expected {
				if problem := difference(wanted, found[i], true, fmt.Sprintf("%s.%d", path, i), saved); problem != "" {
					return problem
				}
			}
			return ""
		}
	}
	if canonical(expected) == canonical(got) {
		return ""
	}
	return fmt.Sprintf("%s is %s, expected %s", path, canonical(got), canonical(expected))
}

func matches(word string, wanted, got any, present bool, path string, saved object) bool {
	if word == "$absent" {
		return !present
	}
	if !present {
		return false
	}
	switch word {
	case "$any":
		return true
	case "$int":
		text, ok := got.(json.Number)
		return ok && isInteger(string(text))
	case "$string":
		_, ok := got.(string)
		return ok
	case "$ref":
		return canonical(saved[wanted.(string)]) == canonical(got)
	case "$exact":
		return canonical(wanted) == canonical(got)
	case "$len":
		return length(got) == canonical(wanted)
	case "$gt":
		if reference, ok := wanted.(object); ok {
			wanted = saved[reference["$ref"].(string)]
		}
		return greater(got, wanted)
	case "$contains":
		items, _ := got.([]any)
		for _, wanted := range wanted.([]any) {
			found := slices.ContainsFunc(items, func(item any) bool {
				return difference(wanted, item, true, path, saved) == ""
			})
			if !found {
				return false
			}
		}
		return true
	}
	return false
}

func length(value any) string {
	switch value := value.(type) {
	case []any:
		return strconv.Itoa(len(value))
	case object:
		return strconv.Itoa(len(value))
	case string:
		return strconv.Itoa(len([]rune(value)))
	}
	return ""
}

func greater(got, least any) bool {
	left, ok := got.(json.Number)
	right, also := least.(json.Number)
	if !ok || !also {
		return false
	}
	a, ok := new(big.Int).SetString(string(left), 10)
	b, also := new(big.Int).SetString(string(right), 10)
	return ok && also && a.Cmp(b) > 0
}

func shown(value any, present bool) string {
	if !present {
		return "absent"
	}
	return canonical(value)
}
