//go:build cgo

package rstmdb

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// A decoder reads JSON text from front to back. After its first error it finds nothing more, so
// that callers look at the error once, in finish.
type decoder struct {
	text string
	at   int
	// The member being read, for messages.
	member string
	err    error
	// Short strings of a long text, to make those that come again once.
	seen *[seenCount]string
}

// Strings of a longer text are copied: one name that is kept must not keep a page of instances.
const decodeShareMax = 4096

const (
	seenCount    = 64
	seenBytesMax = 32
)

// keep makes a string of the text one that may be kept.
func (d *decoder) keep(text string) string {
	if len(d.text) <= decodeShareMax || text == "" {
		return text
	}
	if len(text) > seenBytesMax {
		return strings.Clone(text)
	}
	if d.seen == nil {
		d.seen = new([seenCount]string)
	}
	// Names of states, machines and members come again and again.
	place := &d.seen[(len(text)*7+int(text[0])*31+int(text[len(text)-1]))%seenCount]
	if *place != text {
		*place = strings.Clone(text)
	}
	return *place
}

func (d *decoder) fail(expected string) {
	if d.err == nil {
		where := ""
		if d.member != "" {
			where = fmt.Sprintf("member %q: ", d.member)
		}
		found := "the end"
		if d.at < len(d.text) {
			found = strconv.Quote(d.text[d.at:min(d.at+20, len(d.text))])
		}
		d.err = fmt.Errorf("rstmdb: %sexpected %s, found %s at byte %d", where, expected, found, d.at)
	}
	d.at = len(d.text)
}

// finish gives the first error; anything behind the value is one.
func (d *decoder) finish() error {
	d.blanks()
	if d.err == nil && d.at < len(d.text) {
		d.fail("the end")
	}
	return d.err
}

func (d *decoder) blanks() {
	for d.at < len(d.text) && d.text[d.at] <= ' ' {
		d.at++
	}
}

// peek gives the next byte that is not a blank, 0 at the end.
func (d *decoder) peek() byte {
	if d.at < len(d.text) && d.text[d.at] > ' ' {
		return d.text[d.at]
	}
	d.blanks()
	if d.at == len(d.text) {
		return 0
	}
	return d.text[d.at]
}

func (d *decoder) open(bracket byte, expected string) {
	if d.peek() != bracket {
		d.fail(expected)
		return
	}
	d.at++
}

func (d *decoder) openObject() { d.open('{', "an object") }

func (d *decoder) openArray() { d.open('[', "a list") }

// more reports whether another member or item comes, and consumes what is before it.
func (d *decoder) more(closing byte) bool {
	switch d.peek() {
	case closing:
		d.at++
		return false
	case ',':
		d.at++
	case 0:
		d.fail(strconv.QuoteRune(rune(closing)))
	}
	return d.err == nil
}

// key reads the name of a member and the colon behind it.
func (d *decoder) key() string {
	key := d.quoted()
	if d.peek() != ':' {
		d.fail("a colon")
		return ""
	}
	d.at++
	d.member = key
	return key
}

// null consumes a null, if one comes.
func (d *decoder) null() bool {
	if d.peek() == 'n' && strings.HasPrefix(d.text[d.at:], "null") {
		d.at += 4
		return true
	}
	return false
}

// tag gives the member "type" of the object that comes, and reads nothing.
func (d *decoder) tag() string {
	at, tag := d.at, ""
	d.openObject()
	for tag == "" && d.more('}') {
		if d.key() == "type" {
			tag = d.string()
		} else {
			d.pass()
		}
	}
	if d.err == nil {
		d.at = at
	}
	return tag
}

func (d *decoder) string() string {
	return d.keep(d.quoted())
}

func (d *decoder) quoted() string {
	if d.peek() != '"' {
		d.fail("a string")
		return ""
	}
	from := d.at + 1
	length := strings.IndexByte(d.text[from:], '"')
	if length < 0 {
		d.fail("a string that ends")
		return ""
	}
	text := d.text[from : from+length]
	if escape := strings.IndexByte(text, '\\'); escape >= 0 {
		return d.unescape(from, from+escape)
	}
	d.at = from + length + 1
	return text
}

// unescape reads a string from where its first escape is.
func (d *decoder) unescape(from, i int) string {
	out := append(make([]byte, 0, i-from+32), d.text[from:i]...)
	for i < len(d.text) {
		c := d.text[i]
		i++
		if c == '"' {
			d.at = i
			return string(out)
		}
		if c != '\\' || i == len(d.text) {
			out = append(out, c)
			continue
		}
		c = d.text[i]
		i++
		switch c {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'u':
			letter := hexRune(d.text, i)
			i += 4
			if utf16.IsSurrogate(letter) && strings.HasPrefix(d.text[min(i, len(d.text)):], `\u`) {
				if pair := utf16.DecodeRune(letter, hexRune(d.text, i+2)); pair != utf8.RuneError {
					letter = pair
					i += 6
				}
			}
			out = utf8.AppendRune(out, letter)
		default:
			out = append(out, c)
		}
	}
	d.fail("a string that ends")
	return ""
}

func hexRune(text string, at int) rune {
	if at+4 > len(text) {
		return utf8.RuneError
	}
	number, err := strconv.ParseUint(text[at:at+4], 16, 32)
	if err != nil {
		return utf8.RuneError
	}
	return rune(number)
}

func (d *decoder) bool() bool {
	d.peek()
	rest := d.text[d.at:]
	switch {
	case strings.HasPrefix(rest, "true"):
		d.at += 4
		return true
	case strings.HasPrefix(rest, "false"):
		d.at += 5
	default:
		d.fail("true or false")
	}
	return false
}

// number gives the text of a number, and whether it is an integer.
func (d *decoder) number() (string, bool) {
	d.peek()
	from, integer := d.at, true
	for i := from; ; i++ {
		if i < len(d.text) {
			switch c := d.text[i]; {
			case c >= '0' && c <= '9' || c == '-' && i == from:
				continue
			case c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-':
				integer = false
				continue
			}
		}
		d.at = i
		return d.text[from:i], integer
	}
}

func (d *decoder) uint64() uint64 {
	from := d.at
	text, integer := d.number()
	value, err := strconv.ParseUint(text, 10, 64)
	if !integer || err != nil {
		d.at = from
		d.fail("an integer from 0 to 18446744073709551615")
		return 0
	}
	return value
}

func (d *decoder) uint32() uint32 {
	from := d.at
	value := d.uint64()
	if value > math.MaxUint32 {
		d.at = from
		d.fail("an integer from 0 to 4294967295")
		return 0
	}
	return uint32(value)
}

func (d *decoder) int64() int64 {
	from := d.at
	text, integer := d.number()
	value, err := strconv.ParseInt(text, 10, 64)
	if !integer || err != nil {
		d.at = from
		d.fail("an integer of 64 bits")
		return 0
	}
	return value
}

// time reads milliseconds since 1970.
func (d *decoder) time() time.Time {
	return time.UnixMilli(d.int64()).UTC()
}

// value reads any JSON: nil, bool, string, int64, uint64 above its range, float64, []any and
// map[string]any.
func (d *decoder) value() any {
	switch c := d.peek(); c {
	case '"':
		return d.string()
	case '{':
		return d.fields()
	case '[':
		d.at++
		items := []any{}
		for d.more(']') {
			items = append(items, d.value())
		}
		return items
	case 't', 'f':
		return d.bool()
	case 'n':
		if d.null() {
			return nil
		}
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return d.anyNumber()
		}
	}
	d.fail("a value")
	return nil
}

func (d *decoder) fields() map[string]any {
	d.at++
	fields := map[string]any{}
	for d.more('}') {
		key := d.keep(d.quoted())
		if d.peek() != ':' {
			d.fail("a colon")
			break
		}
		d.at++
		fields[key] = d.value()
	}
	return fields
}

func (d *decoder) anyNumber() any {
	from := d.at
	text, integer := d.number()
	if integer {
		if value, err := strconv.ParseInt(text, 10, 64); err == nil {
			return value
		}
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			return value
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d.at = from
		d.fail("a number")
		return nil
	}
	return value
}

// document reads any JSON as its text and, when it is an object, its members.
func (d *decoder) document() (string, map[string]any) {
	d.peek()
	from := d.at
	if len(d.text) <= decodeShareMax {
		fields := d.object()
		return d.share(from), fields
	}
	// One copy, which the strings inside share.
	d.pass()
	text := d.share(from)
	inner := decoder{text: text}
	fields := inner.object()
	if inner.err != nil && d.err == nil {
		d.err = inner.err
	}
	return text, fields
}

// object reads any JSON and gives the members of an object.
func (d *decoder) object() map[string]any {
	if d.peek() == '{' {
		return d.fields()
	}
	d.value()
	return nil
}

// share gives the text from a position to here.
func (d *decoder) share(from int) string {
	if d.err != nil {
		return ""
	}
	return d.keep(d.text[from:d.at])
}

// skip passes over the value of a member that nobody knows: one that a newer core has added.
func (d *decoder) skip(string) { d.pass() }

// pass goes behind a value without making it. It looks no further than it must: what is inside may
// be wrong.
func (d *decoder) pass() {
	switch d.peek() {
	case '"':
		d.passString()
	case '{', '[':
		d.passContainer()
	case '}', ']', ',', ':', 0:
		d.fail("a value")
	default:
		for d.at < len(d.text) && !isEnd(d.text[d.at]) {
			d.at++
		}
	}
}

// passContainer goes behind the list or object that begins here.
func (d *decoder) passContainer() {
	depth := 0
	for i := d.at; i < len(d.text); i++ {
		switch d.text[i] {
		case '"':
			end := stringEnd(d.text, i+1)
			if end == 0 {
				d.fail("strings that end")
				return
			}
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				d.at = i + 1
				return
			}
		}
	}
	d.fail("a value that ends")
}

func (d *decoder) passString() {
	if end := stringEnd(d.text, d.at+1); end > 0 {
		d.at = end
		return
	}
	d.fail("a string that ends")
}

// stringEnd gives the place behind the string whose opening quote stands before from, 0 when it does not end.
func stringEnd(text string, from int) int {
	for {
		length := strings.IndexByte(text[from:], '"')
		if length < 0 {
			return 0
		}
		escape := strings.IndexByte(text[from:from+length], '\\')
		if escape < 0 {
			return from + length + 1
		}
		from += escape + 2
		if from > len(text) {
			return 0
		}
	}
}

// isEnd reports whether a number or a word ends before this byte.
func isEnd(c byte) bool {
	return c <= ' ' || c == ',' || c == ':' || c == '}' || c == ']' || c == '{' || c == '[' || c == '"'
}
