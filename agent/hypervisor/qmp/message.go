package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxMessage is the longest message accepted, in bytes. The longest that QEMU
// is known to send, its own schema, is a tenth of it.
const MaxMessage = 4 << 20

// Event is something that QEMU tells unasked.
type Event struct {
	Name string
	Data json.RawMessage
	Time time.Time // QEMU's wall clock, for people
}

// Error is QEMU's refusal of a command.
type Error struct {
	Command string `json:"-"`
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

// Error returns the command and QEMU's own words.
func (e *Error) Error() string {
	return fmt.Sprintf("QEMU refused %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// message is any line that QEMU sends: greeting, answer or event.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	ID       *uint64         `json:"id"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Time     timestamp       `json:"timestamp"`
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

// decode reads one line. A line must be exactly one of greeting, answer, event.
func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("not QMP: %.120q: %w", line, err)
	}
	kinds := 0
	for _, is := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("not QMP: %.120q is not exactly one of greeting, answer and event", line)
	}
	return m, nil
}

func (m message) event() Event {
	return Event{Name: m.Event, Data: m.Data, Time: time.Unix(m.Time.Seconds, m.Time.Microseconds*1000)}
}

// command is what we send.
type command struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

func encode(name string, arguments any, id uint64) ([]byte, error) {
	data, err := json.Marshal(command{Execute: name, Arguments: arguments, ID: id})
	if err != nil {
		return nil, fmt.Errorf("encode QMP command %s: %w", name, err)
	}
	return append(data, '\n'), nil
}

var errUnidentified = errors.New("QEMU refused a line that it could not read as a command")
