package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Code names the kind of an error, the same from version to version. Commands
// turn it into their exit code.
type Code string

const (
	// Invalid: the request makes no sense as it stands.
	Invalid Code = "invalid"
	// NotFound: there is no such host, datastore, machine or method.
	NotFound Code = "not-found"
	// Refused: the request was understood, and the present state or a rule forbids it.
	Refused Code = "refused"
	// Unavailable: it may succeed later, as when a datastore can't be reached.
	Unavailable Code = "unavailable"
	// NotRunning: nothing serves the socket.
	NotRunning Code = "not-running"
	// NotPermitted: the caller may not open the socket.
	NotPermitted Code = "not-permitted"
	// Internal: anything else.
	Internal Code = "internal"
)

var statusOf = map[Code]int{
	Invalid:     http.StatusBadRequest,
	NotFound:    http.StatusNotFound,
	Refused:     http.StatusConflict,
	Unavailable: http.StatusServiceUnavailable,
	Internal:    http.StatusInternalServerError,
}

// Error is what a caller is told when a request fails.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Error returns the message and the remedy in one line.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + ": " + e.Remedy
}

// Errorf makes an Error without a remedy.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithRemedy returns the error with a remedy.
func (e *Error) WithRemedy(format string, args ...any) *Error {
	out := *e
	out.Remedy = fmt.Sprintf(format, args...)
	return &out
}

// CodeOf returns the code of err: Internal for an error that has none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return asError(err).Code
}

func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Message: err.Error()}
}
