package rstmdb

// BatchOperation is one operation of a batch, made by one of the Batch functions below.
type BatchOperation struct {
	operation string
	params    appender
}

// BatchCreateInstance creates an instance in a batch.
func BatchCreateInstance(request CreateInstanceRequest) BatchOperation {
	return BatchOperation{OpCreateInstance.String(), &request}
}

// BatchApplyEvent applies an event in a batch.
func BatchApplyEvent(request ApplyEventRequest) BatchOperation {
	return BatchOperation{OpApplyEvent.String(), &request}
}

// BatchDeleteInstance deletes an instance in a batch.
func BatchDeleteInstance(request DeleteInstanceRequest) BatchOperation {
	return BatchOperation{OpDeleteInstance.String(), &request}
}

// BatchGetInstance reads an instance, as the operations before it in the batch left it.
func BatchGetInstance(request GetInstanceRequest) BatchOperation {
	return BatchOperation{OpGetInstance.String(), &request}
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
	return append(b, '}'), err
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
	switch o.operation {
	case "CREATE_INSTANCE":
		o.params = decoded[CreateInstanceRequest](&inner)
	case "APPLY_EVENT":
		o.params = decoded[ApplyEventRequest](&inner)
	case "DELETE_INSTANCE":
		o.params = decoded[DeleteInstanceRequest](&inner)
	case "GET_INSTANCE":
		o.params = decoded[GetInstanceRequest](&inner)
	default:
		d.fail("an op that is CREATE_INSTANCE, APPLY_EVENT, DELETE_INSTANCE or GET_INSTANCE")
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

// BatchOperationResult is the result of one operation of a batch; one of its fields is set.
type BatchOperationResult struct {
	// Of a create.
	CreateInstance *CreateInstanceResult

	// Of an event.
	ApplyEvent *ApplyEventResult

	// Of a delete.
	DeleteInstance *DeleteInstanceResult

	// Of a read.
	GetInstance *GetInstanceResult
}

// MarshalJSON implements json.Marshaler.
func (r BatchOperationResult) MarshalJSON() ([]byte, error) { return r.appendJSON(nil) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *BatchOperationResult) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	r.decode(&d)
	return d.finish()
}

func (r *BatchOperationResult) appendJSON(b []byte) ([]byte, error) {
	switch {
	case r.CreateInstance != nil:
		return r.CreateInstance.appendJSON(b)
	case r.ApplyEvent != nil:
		return r.ApplyEvent.appendJSON(b)
	case r.DeleteInstance != nil:
		return r.DeleteInstance.appendJSON(b)
	case r.GetInstance != nil:
		return r.GetInstance.appendJSON(b)
	}
	return append(b, "null"...), nil
}

func (r *BatchOperationResult) isUnknown() bool {
	return r.ApplyEvent == nil && r.DeleteInstance == nil && r.GetInstance == nil
}

// decode tells the results apart by a member that no other one has before it.
func (r *BatchOperationResult) decode(d *decoder) {
	*r = BatchOperationResult{}
	d.peek()
	look := decoder{text: d.text, at: d.at}
	look.openObject()
	for r.isUnknown() && look.more('}') {
		switch look.key() {
		case "applied", "from_state":
			r.ApplyEvent = new(ApplyEventResult)
		case "deleted":
			r.DeleteInstance = new(DeleteInstanceResult)
		case "last_wal_offset", "ctx":
			r.GetInstance = new(GetInstanceResult)
		default:
			look.pass()
		}
	}
	switch {
	case r.ApplyEvent != nil:
		r.ApplyEvent.decode(d)
	case r.DeleteInstance != nil:
		r.DeleteInstance.decode(d)
	case r.GetInstance != nil:
		r.GetInstance.decode(d)
	default:
		r.CreateInstance = new(CreateInstanceResult)
		r.CreateInstance.decode(d)
	}
}
