//go:build cgo

package rstmdb

// BatchOperation is one operation of a batch, made by one of the functions whose names begin with Batch.
type BatchOperation struct {
	operation string
	params    appender
}

// MarshalJSON implements json.Marshaler.
func (o BatchOperation) MarshalJSON() ([]byte, error) { return o.appendJSON(nil) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *BatchOperation) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	o.decode(&d)
	return d.finish()
}

func (o *BatchOperation) appendJSON(b []byte) ([]byte, error) {
	if o.params == nil {
		return b, invalidRequest("an operation of the batch is empty; make it with BatchApplyEvent, say")
	}
	b = appendText(append(b, `{"op":`...), o.operation)
	b, err := o.params.appendJSON(append(b, `,"params":`...))
	if err != nil {
		return b, inMember(err, "params")
	}
	return append(b, '}'), nil
}

func (o *BatchOperation) decode(d *decoder) {
	*o = BatchOperation{}
	params := "{}"
	d.openObject()
	for d.more('}') {
		switch key := d.key(); key {
		case "op":
			o.operation = d.string()
		case "params":
			if !d.null() {
				d.peek()
				from := d.at
				d.pass()
				params = d.share(from)
			}
		default:
			d.skip(key)
		}
	}
	if d.err != nil {
		return
	}
	inner := decoder{text: params}
	if o.params = batchParams(o.operation, &inner); o.params == nil {
		d.fail("an op that is " + batchOperations)
	}
	if d.err == nil {
		d.err = inner.finish()
	}
}

func decoded[T any, P interface {
	*T
	appender
	decode(*decoder)
}](d *decoder) appender {
	value := P(new(T))
	value.decode(d)
	return value
}

// MarshalJSON implements json.Marshaler.
func (r BatchOperationResult) MarshalJSON() ([]byte, error) { return r.appendJSON(nil) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *BatchOperationResult) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	r.decode(&d)
	return d.finish()
}
