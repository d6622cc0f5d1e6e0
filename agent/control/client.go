package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"

	"golang.org/x/sys/unix"
)

const (
	// maxAnswer bounds what a client reads: a thousand hosts and their machines
	// in JSON are well below it.
	maxAnswer = 64 << 20

	// maxLine bounds one line of a stream.
	maxLine = 4 << 20
)

// Client talks to the agent on this host.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the socket. It does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call runs a method of the agent: in goes there as JSON, the answer comes into
// out. Either may be nil. The error is an *Error.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	answer, err := c.post(ctx, method, in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.failed(ctx, fmt.Errorf("reading the answer to %s: %w", method, err))
	case len(raw) > maxAnswer:
		return Errorf(Internal, "the answer to %s is larger than %d bytes", method, maxAnswer)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return Errorf(Internal, "the answer to %s makes no sense: %v", method, err).
			WithRemedy("use a storebeat command of the agent's version")
	}
	return nil
}

// Stream runs a method that answers with a stream and calls each with every
// value until the stream ends, each fails (whose error is returned as it is) or
// ctx is done (which is no error).
func (c *Client) Stream(ctx context.Context, method string, in any, each func(value json.RawMessage) error) error {
	answer, err := c.post(ctx, method, in)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer answer.Body.Close()
	scanner := bufio.NewScanner(answer.Body)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		if err := each(bytes.Clone(scanner.Bytes())); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := scanner.Err(); err != nil {
		return Errorf(Unavailable, "the stream of %s broke off: %v", method, err).WithRemedy("see whether the agent still runs, and try again")
	}
	return trailer(answer)
}

// trailer returns the error that ended a stream, if one did.
func trailer(answer *http.Response) error {
	text := answer.Trailer.Get(trailerError)
	if text == "" {
		return nil
	}
	return decodeError([]byte(text), answer.Status)
}

func (c *Client) post(ctx context.Context, method string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, Errorf(Invalid, "the request for %s can't be encoded: %v", method, err)
		}
		body = raw
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+prefix+method, bytes.NewReader(body))
	if err != nil {
		return nil, Errorf(Invalid, "no method can be called %q: %v", method, err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(answer.Body, MaxRequest))
	return nil, decodeError(raw, answer.Status)
}

func decodeError(raw []byte, status string) *Error {
	var e Error
	if json.Unmarshal(raw, &e) != nil || e.Message == "" {
		return Errorf(Internal, "the agent answered %s without a reason", status).WithRemedy("see the agent's log (journalctl -u storebeat)")
	}
	if e.Code == "" {
		e.Code = Internal
	}
	return &e
}

// failed says in the user's terms why no answer came.
func (c *Client) failed(ctx context.Context, err error) *Error {
	switch {
	case len(c.socket) > maxSocketPath:
		return Errorf(Invalid, "control socket %s: its path has %d bytes and a unix socket takes at most %d", c.socket, len(c.socket), maxSocketPath).
			WithRemedy("choose a shorter run directory")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return Errorf(NotRunning, "the agent is not running: nothing serves %s", c.socket).
			WithRemedy("start it (systemctl start storebeat), or name the socket of a running one")
	case errors.Is(err, fs.ErrPermission):
		return Errorf(NotPermitted, "not permitted to open %s", c.socket).
			WithRemedy("run the command as root, or join the group that owns the socket")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Errorf(Unavailable, "the agent at %s did not answer in time", c.socket).
			WithRemedy("see its log (journalctl -u storebeat)")
	case ctx.Err() != nil:
		return Errorf(Unavailable, "the request to %s was cancelled", c.socket)
	}
	return Errorf(Unavailable, "the agent at %s did not answer: %v", c.socket, err).
		WithRemedy("see its log (journalctl -u storebeat)")
}
