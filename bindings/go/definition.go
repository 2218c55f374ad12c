//go:build cgo

package rstmdb

import "encoding/json"

// MachineDefinition is the definition of a machine. Anything else that encodes to the same JSON, such
// as a json.RawMessage read from a file, can be stored too.
type MachineDefinition struct {
	// The names of the states.
	States []string `json:"states"`

	// The state instances begin in.
	Initial string `json:"initial"`

	// What leads from state to state.
	Transitions []Transition `json:"transitions"`

	// States that no event leaves.
	Final []string `json:"final,omitempty"`

	// Anything you want to keep with the definition.
	Meta any `json:"meta,omitempty"`
}

// Transition says that an event leads from one state to another.
type Transition struct {
	// The state or states it begins in; "*" is every state without a transition of its own for the event.
	From StringOrSlice `json:"from"`

	// The name of the event.
	Event string `json:"event"`

	// The state it leads to.
	To string `json:"to"`

	// A condition on ctx, payload and state, such as `ctx.total > 0`.
	Guard string `json:"guard,omitempty"`
}

// StringOrSlice is one string or several; one is written as a plain string.
type StringOrSlice []string

// From is a StringOrSlice of these states.
func From(states ...string) StringOrSlice { return states }

func (s StringOrSlice) appendJSON(b []byte) []byte {
	if len(s) == 1 {
		return appendText(b, s[0])
	}
	b, _ = appendValue(b, append([]string{}, s...), 0)
	return b
}

// MarshalJSON implements json.Marshaler.
func (s StringOrSlice) MarshalJSON() ([]byte, error) { return s.appendJSON(nil), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (s *StringOrSlice) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	*s = d.strings()
	return d.finish()
}

// MarshalJSON implements json.Marshaler.
func (m MachineDefinition) MarshalJSON() ([]byte, error) { return m.appendJSON(nil) }

// UnmarshalJSON implements json.Unmarshaler; integers in Meta stay exact.
func (m *MachineDefinition) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	m.decode(&d)
	return d.finish()
}

func (m *MachineDefinition) appendJSON(b []byte) ([]byte, error) {
	var err error
	b = append(b, `{"states":`...)
	if b, err = appendValue(b, append([]string{}, m.States...), 0); err != nil {
		return b, err
	}
	b = append(b, `,"initial":`...)
	b = appendText(b, m.Initial)
	b = append(b, `,"transitions":[`...)
	for i := range m.Transitions {
		transition := &m.Transitions[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"from":`...)
		b = transition.From.appendJSON(b)
		b = append(b, `,"event":`...)
		b = appendText(b, transition.Event)
		b = append(b, `,"to":`...)
		b = appendText(b, transition.To)
		if transition.Guard != "" {
			b = append(b, `,"guard":`...)
			b = appendText(b, transition.Guard)
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	if len(m.Final) > 0 {
		b = append(b, `,"final":`...)
		if b, err = appendValue(b, m.Final, 0); err != nil {
			return b, err
		}
	}
	if m.Meta != nil {
		b = append(b, `,"meta":`...)
		if b, err = appendValue(b, m.Meta, 0); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func (m *MachineDefinition) decode(d *decoder) {
	*m = MachineDefinition{}
	d.openObject()
	for d.more('}') {
		switch key := d.key(); key {
		case "states":
			m.States = d.strings()
		case "initial":
			m.Initial = d.string()
		case "transitions":
			d.openArray()
			for d.more(']') {
				m.Transitions = append(m.Transitions, Transition{})
				m.Transitions[len(m.Transitions)-1].decode(d)
			}
		case "final":
			m.Final = d.strings()
		case "meta":
			m.Meta = d.value()
		default:
			d.skip(key)
		}
	}
}

func (t *Transition) decode(d *decoder) {
	d.openObject()
	for d.more('}') {
		switch key := d.key(); key {
		case "from":
			t.From = d.strings()
		case "event":
			t.Event = d.string()
		case "to":
			t.To = d.string()
		case "guard":
			if !d.null() {
				t.Guard = d.string()
			}
		default:
			d.skip(key)
		}
	}
}

// strings reads a string or a list of them.
func (d *decoder) strings() []string {
	if d.null() {
		return nil
	}
	if d.peek() == '"' {
		return []string{d.string()}
	}
	d.openArray()
	items := []string{}
	for d.more(']') {
		items = append(items, d.string())
	}
	return items
}

// definition reads a definition and gives its exact text too.
func (d *decoder) definition(definition *MachineDefinition) string {
	d.peek()
	from := d.at
	if d.peek() == '{' {
		definition.decode(d)
	} else {
		d.value()
	}
	return d.share(from)
}

// Decode reads exact JSON text, such as result.RawCtx(), into a value of your own type.
//
//	order, err := rstmdb.Decode[Order](instance.RawCtx())
func Decode[T any](text json.RawMessage) (T, error) {
	var value T
	err := json.Unmarshal(text, &value)
	return value, err
}
