//go:build cgo

package rstmdb

import (
	"encoding/json"
	"slices"
	"strconv"
)

// MachineDefinition is the definition of a machine. Anything else that encodes to the same JSON, such
// as a json.RawMessage read from a file, can be stored too.
type MachineDefinition struct {
	// The names of the states.
	States []string `json:"states"`

	// What states do, by name; those without actions need none.
	Bodies map[string]StateBody `json:"-"`

	// The state instances begin in.
	Initial string `json:"initial"`

	// What leads from state to state.
	Transitions []Transition `json:"transitions"`

	// States that no event leaves.
	Final []string `json:"final,omitempty"`

	// Anything you want to keep with the definition.
	Meta any `json:"meta,omitempty"`

	// What of payloads is merged into the context where a transition does not say it: true, false or names.
	Merge any `json:"merge,omitempty"`
}

// StateBody is what a state does, each action a map such as {"assign": {"tries": 1}}.
type StateBody struct {
	// When it is entered.
	Entry []any `json:"entry,omitempty"`

	// When it is left.
	Exit []any `json:"exit,omitempty"`

	// Anything you want to keep with the state.
	Meta any `json:"meta,omitempty"`
}

// Transition says that an event leads from one state to another.
type Transition struct {
	// The state or states it begins in; "*" is every state without a transition of its own for the event.
	From StringOrSlice `json:"from"`

	// The name of the event; ignored where Always is set.
	Event string `json:"event,omitempty"`

	// It answers no event and is taken as soon as the guard holds.
	Always bool `json:"always,omitempty"`

	// The state it leads to. With Actions it may be empty: then nothing is left or entered.
	To string `json:"to,omitempty"`

	// A condition on ctx, payload and state, such as `ctx.total > 0`.
	Guard string `json:"guard,omitempty"`

	// What of the payload is merged into the context: true, false or names.
	Merge any `json:"merge,omitempty"`

	// What is done when it is taken, each a map such as {"assign": {"tries": 1}}.
	Actions []any `json:"actions,omitempty"`
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
	for name := range m.Bodies {
		if !slices.Contains(m.States, name) {
			return b, invalidRequest("definition: Bodies has the state " + strconv.Quote(name) + ", which is not in States; add it there")
		}
	}
	b = append(b, `{"states":[`...)
	for i, name := range m.States {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = m.Bodies[name].appendJSON(b, name); err != nil {
			return b, err
		}
	}
	b = append(b, `],"initial":`...)
	b = appendText(b, m.Initial)
	b = append(b, `,"transitions":[`...)
	for i := range m.Transitions {
		transition := &m.Transitions[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"from":`...)
		b = transition.From.appendJSON(b)
		if transition.Always {
			b = append(b, `,"always":true`...)
		} else {
			b = append(b, `,"event":`...)
			b = appendText(b, transition.Event)
		}
		if transition.To != "" || len(transition.Actions) == 0 {
			b = append(b, `,"to":`...)
			b = appendText(b, transition.To)
		}
		if transition.Guard != "" {
			b = append(b, `,"guard":`...)
			b = appendText(b, transition.Guard)
		}
		if b, err = appendMember(b, `,"merge":`, transition.Merge); err != nil {
			return b, err
		}
		if len(transition.Actions) > 0 {
			if b, err = appendMember(b, `,"actions":`, transition.Actions); err != nil {
				return b, err
			}
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
	if b, err = appendMember(b, `,"meta":`, m.Meta); err != nil {
		return b, err
	}
	if b, err = appendMember(b, `,"merge":`, m.Merge); err != nil {
		return b, err
	}
	return append(b, '}'), nil
}

// appendMember appends a member unless its value is nil.
func appendMember(b []byte, key string, value any) ([]byte, error) {
	if value == nil {
		return b, nil
	}
	return appendValue(append(b, key...), value, 0)
}

// appendJSON appends the state with this name: one that does nothing is no more than that.
func (s StateBody) appendJSON(b []byte, name string) ([]byte, error) {
	if len(s.Entry) == 0 && len(s.Exit) == 0 && s.Meta == nil {
		return appendText(b, name), nil
	}
	b = appendText(append(b, `{"name":`...), name)
	var err error
	if len(s.Entry) > 0 {
		if b, err = appendMember(b, `,"entry":`, s.Entry); err != nil {
			return b, err
		}
	}
	if len(s.Exit) > 0 {
		if b, err = appendMember(b, `,"exit":`, s.Exit); err != nil {
			return b, err
		}
	}
	if b, err = appendMember(b, `,"meta":`, s.Meta); err != nil {
		return b, err
	}
	return append(b, '}'), nil
}

func (m *MachineDefinition) decode(d *decoder) {
	*m = MachineDefinition{}
	d.openObject()
	for d.more('}') {
		switch key := d.key(); key {
		case "states":
			m.decodeStates(d)
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
		case "merge":
			m.Merge = d.value()
		default:
			d.skip(key)
		}
	}
}

func (m *MachineDefinition) decodeStates(d *decoder) {
	m.States = []string{}
	d.openArray()
	for d.more(']') {
		if d.peek() != '{' {
			m.States = append(m.States, d.string())
			continue
		}
		var name string
		var body StateBody
		d.openObject()
		for d.more('}') {
			switch key := d.key(); key {
			case "name":
				name = d.string()
			case "entry":
				body.Entry, _ = d.value().([]any)
			case "exit":
				body.Exit, _ = d.value().([]any)
			case "meta":
				body.Meta = d.value()
			default:
				d.skip(key)
			}
		}
		if m.Bodies == nil {
			m.Bodies = map[string]StateBody{}
		}
		m.States, m.Bodies[name] = append(m.States, name), body
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
		case "always":
			t.Always, _ = d.value().(bool)
		case "merge":
			t.Merge = d.value()
		case "actions":
			t.Actions, _ = d.value().([]any)
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
