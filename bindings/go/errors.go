//go:build cgo

package rstmdb

import (
	"context"
	"errors"
	"fmt"
)

// Error is what every operation fails with. Compare kinds with errors.Is, as in
//
//	errors.Is(err, rstmdb.ErrNotFound)
//
// and reach the rest with errors.As.
type Error struct {
	// What went wrong, as it travels on the wire.
	Code ErrorCode

	// What to do about it.
	Kind ErrorKind

	// The finer distinction within the code, one of the Reason constants, or "".
	Reason string

	// What happened and what to do, for people.
	Message string

	// Whether the same request may succeed later without a change.
	Retryable bool

	// The wire name of the operation that failed, or "".
	Operation string

	// The things involved: names, limits, positions.
	Context map[string]any

	causes []error
}

// kindError is what errors.Is compares kinds with.
type kindError ErrorKind

// Error implements error.
func (k kindError) Error() string { return "rstmdb: " + string(k) }

// Error implements error: the code and the message.
func (e *Error) Error() string { return "rstmdb: " + string(e.Code) + ": " + e.Message }

// Is reports whether target is the Err value of the error's kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(kindError)
	return ok && ErrorKind(kind) == e.Kind
}

// Unwrap gives what ended the waiting: the error of a context, and its cause.
func (e *Error) Unwrap() []error { return e.causes }

// IsInstanceNotFound reports whether an instance is unknown or deleted.
func IsInstanceNotFound(err error) bool { return hasCode(err, CodeInstanceNotFound) }

// IsMachineNotFound reports whether a machine or this version of it is unknown.
func IsMachineNotFound(err error) bool { return hasCode(err, CodeMachineNotFound) }

// IsInvalidTransition reports whether the machine has no transition for this state and event.
func IsInvalidTransition(err error) bool { return hasCode(err, CodeInvalidTransition) }

// IsGuardFailed reports whether no guard of the possible transitions passed.
func IsGuardFailed(err error) bool { return hasCode(err, CodeGuardFailed) }

// IsConflict reports whether the instance is not where the caller expected it to be.
func IsConflict(err error) bool { return hasCode(err, CodeConflict) }

// IsRetryable reports whether the same request may succeed later without a change.
func IsRetryable(err error) bool {
	var found *Error
	return errors.As(err, &found) && found.Retryable
}

func hasCode(err error, code ErrorCode) bool {
	var found *Error
	return errors.As(err, &found) && found.Code == code
}

// MarshalJSON implements json.Marshaler.
func (e *Error) MarshalJSON() ([]byte, error) { return e.appendJSON(nil) }

// UnmarshalJSON implements json.Unmarshaler.
func (e *Error) UnmarshalJSON(text []byte) error {
	d := decoder{text: string(text)}
	e.decode(&d)
	return d.finish()
}

func (e *Error) appendJSON(b []byte) ([]byte, error) {
	b = appendText(append(b, `{"code":`...), string(e.Code))
	b = appendText(append(b, `,"kind":`...), string(e.Kind))
	if e.Reason != "" {
		b = appendText(append(b, `,"reason":`...), e.Reason)
	}
	b = appendText(append(b, `,"message":`...), e.Message)
	b = append(b, `,"retryable":`...)
	if e.Retryable {
		b = append(b, "true"...)
	} else {
		b = append(b, "false"...)
	}
	if e.Operation != "" {
		b = appendText(append(b, `,"operation":`...), e.Operation)
	}
	if len(e.Context) > 0 {
		var err error
		if b, err = appendMap(append(b, `,"context":`...), e.Context, 0); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func (e *Error) decode(d *decoder) {
	*e = Error{}
	d.openObject()
	for d.more('}') {
		key := d.key()
		if d.null() {
			continue
		}
		switch key {
		case "code":
			e.Code = ErrorCode(d.string())
		case "kind":
			e.Kind = ErrorKind(d.string())
		case "reason":
			e.Reason = d.string()
		case "message":
			e.Message = d.string()
		case "retryable":
			e.Retryable = d.bool()
		case "operation":
			e.Operation = d.string()
		case "context":
			_, e.Context = d.document()
		default:
			d.skip(key)
		}
	}
}

// errorFrom makes an error of the JSON that the core gives.
func errorFrom(text string) error {
	found := new(Error)
	d := decoder{text: text}
	found.decode(&d)
	if err := d.finish(); err != nil {
		return &Error{Code: CodeInternalError, Kind: KindInternal, Message: "an error without a description", causes: []error{err}}
	}
	return found
}

func invalidRequest(message string) *Error {
	return &Error{Code: CodeBadRequest, Kind: KindInvalid, Reason: ReasonInvalidRequest, Message: message}
}

// inMember says in front of an error which member of the request it is about.
func inMember(err error, name string) error {
	e, ok := err.(*Error)
	if !ok {
		return err
	}
	between := ": "
	if inner, ok := e.Context["field"].(string); ok {
		between = "."
		e.Context["field"] = name + "." + inner
	} else {
		e.Context = map[string]any{"field": name}
	}
	e.Message = name + between + e.Message
	return e
}

// place is the name of an element of a list.
func place(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

func invalidOption(message string) *Error {
	return &Error{Code: CodeBadRequest, Kind: KindInvalid, Reason: ReasonInvalidOption, Message: message}
}

func closedError(operation string) error {
	return &Error{
		Code: CodeInternalError, Kind: KindClosed, Reason: ReasonClosed,
		Message: "the database was closed", Operation: operation,
	}
}

// contextError says that a context ended the waiting. A write may still happen: only reads can be
// repeated without looking.
func contextError(ctx context.Context, operation string, isWrite bool) error {
	causes := []error{ctx.Err()}
	if cause := context.Cause(ctx); cause != ctx.Err() {
		causes = append(causes, cause)
	}
	message := "the context ended before the answer came: " + ctx.Err().Error()
	if isWrite {
		message += "; the write may still happen: read to find out, or repeat it with its idempotency key"
	}
	return &Error{
		Code: CodeInternalError, Kind: KindClosed, Reason: ReasonCancelled, Message: message,
		Retryable: !isWrite, Operation: operation, causes: causes,
	}
}
