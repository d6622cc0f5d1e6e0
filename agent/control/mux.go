package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// MaxRequest is the largest request, in bytes.
	MaxRequest = 1 << 20

	prefix       = "/v1/"
	trailerError = "Storebeat-Error"

	// stuckClient is how long a stream waits for a client that does not read.
	stuckClient = 10 * time.Second
)

// Mux maps the names of methods to functions. The method NAME is served at
// POST /v1/NAME, so that curl --unix-socket will do in need.
type Mux struct {
	methods map[string]http.HandlerFunc
}

// NewMux returns a Mux without methods.
func NewMux() *Mux { return &Mux{methods: map[string]http.HandlerFunc{}} }

// Methods returns the names of all methods, sorted.
func (m *Mux) Methods() []string {
	names := make([]string, 0, len(m.methods))
	for name := range m.methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ServeHTTP runs the method that the request names.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, prefix)
	method := m.methods[name]
	switch {
	case !ok || method == nil:
		writeError(w, Errorf(NotFound, "the agent has no method %q", r.URL.Path).
			WithRemedy("use a storebeat command of the agent's version; methods are %s", strings.Join(m.Methods(), ", ")))
	case r.Method != http.MethodPost:
		writeError(w, Errorf(Invalid, "method %q was asked for with %s", name, r.Method).WithRemedy("use POST"))
	default:
		method(w, r)
	}
}

// Handle serves the method with do. An error that is not an *Error reaches the
// client as Internal.
func Handle[In, Out any](m *Mux, name string, do func(ctx context.Context, in In) (Out, error)) {
	m.methods[name] = func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := readRequest(w, r, &in); err != nil {
			writeError(w, err)
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			writeError(w, err)
			return
		}
		raw, err := json.Marshal(out)
		if err != nil {
			writeError(w, fmt.Errorf("encoding the answer of %s: %w", name, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(raw, '\n')) // the client is gone: nobody is left to tell
	}
}

// HandleStream serves the method as a stream: do calls send for each value, and
// ends when its context does or send fails. Each value is one line of JSON.
func HandleStream[In any](m *Mux, name string, do func(ctx context.Context, in In, send func(value any) error) error) {
	m.methods[name] = func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := readRequest(w, r, &in); err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Trailer", trailerError)
		out := &lines{w: w, control: http.NewResponseController(w)}
		_ = out.flush() // the headers, so that the client knows it is connected
		err := do(r.Context(), in, out.send)
		if err != nil && r.Context().Err() == nil {
			raw, _ := json.Marshal(asError(err))
			w.Header().Set(trailerError, string(raw))
		}
	}
}

type lines struct {
	w       io.Writer
	control *http.ResponseController
}

func (l *lines) send(value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding a line of the stream: %w", err)
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(stuckClient))
	if _, err := l.w.Write(append(raw, '\n')); err != nil {
		return err
	}
	return l.flush()
}

func (l *lines) flush() error { return l.control.Flush() }

func readRequest(w http.ResponseWriter, r *http.Request, in any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxRequest))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(in)
	if err == nil {
		_, err = decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return Errorf(Invalid, "the request holds more than one JSON value")
	}
	if errors.Is(err, io.EOF) { // no body: all defaults
		return nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Errorf(Invalid, "the request is larger than %d bytes", tooLarge.Limit).WithRemedy("send less")
	}
	return Errorf(Invalid, "the request is not what this method takes: %v", err).WithRemedy("use a storebeat command of the agent's version")
}

func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	status, ok := statusOf[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	raw, _ := json.Marshal(e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n'))
}
