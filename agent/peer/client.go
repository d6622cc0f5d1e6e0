package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"storebeat/datastorehb"
)

const (
	// connectionsPerHost bounds the messages under way to one host; more wait.
	connectionsPerHost = 4

	defaultDeadline = 5 * time.Second
)

// RemoteError is what the other host answered instead of a reply. The message
// did arrive.
type RemoteError struct {
	Host    datastorehb.HostID
	Status  int // of HTTP; 503 when the host has too many messages of ours in hand
	Message string
}

// Error tells which host said what.
func (e *RemoteError) Error() string { return fmt.Sprintf("host %d answered: %s", e.Host, e.Message) }

// Client sends messages to other hosts.
type Client struct {
	identity *Identity

	mu     sync.Mutex
	closed bool
	hosts  map[datastorehb.HostID]*host
}

// NewClient returns a client. It connects when the first message is sent.
func NewClient(identity *Identity, peers map[datastorehb.HostID][]netip.AddrPort) *Client {
	c := &Client{identity: identity, hosts: map[datastorehb.HostID]*host{}}
	c.SetPeers(peers)
	return c
}

// SetPeers replaces the addresses of the other hosts. Connections to hosts that
// stay are kept.
func (c *Client) SetPeers(peers map[datastorehb.HostID][]netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, h := range c.hosts {
		if _, stays := peers[id]; !stays {
			delete(c.hosts, id)
			h.close()
		}
	}
	for id, addresses := range peers {
		if id == c.identity.self || c.closed {
			continue
		}
		if c.hosts[id] == nil {
			c.hosts[id] = newHost(id, c.identity.client(id))
		}
		c.hosts[id].setAddresses(addresses)
	}
}

// Send sends one message and returns the reply. Without a deadline in ctx it
// gives up after 5 s. A *RemoteError tells that the message arrived; any other
// error leaves that open.
func (c *Client) Send(ctx context.Context, to datastorehb.HostID, body []byte) ([]byte, error) {
	if len(body) > MaxMessage {
		return nil, fmt.Errorf("a message of %d bytes to host %d can't be sent: at most %d are allowed", len(body), to, MaxMessage)
	}
	reply, err := c.exchange(ctx, to, http.MethodPost, messagePath, body)
	if err != nil {
		return nil, fmt.Errorf("sending a message to host %d: %w", to, err)
	}
	return reply, nil
}

// Warm makes sure that there is an open connection to the host, and that the
// host answers on it.
func (c *Client) Warm(ctx context.Context, to datastorehb.HostID) error {
	if _, err := c.exchange(ctx, to, http.MethodGet, alivePath, nil); err != nil {
		return fmt.Errorf("keeping a connection to host %d: %w", to, err)
	}
	return nil
}

// KeepWarm keeps connections open to the hosts that which returns, now and
// again every so often, until ctx is done. A host that hangs is not asked again
// before the last question ended.
func (c *Client) KeepWarm(ctx context.Context, every time.Duration, which func() []datastorehb.HostID) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, id := range which() {
			h, _ := c.host(id)
			if h == nil || !h.warming.CompareAndSwap(false, true) {
				continue
			}
			asking.Go(func() {
				defer h.warming.Store(false)
				_ = c.Warm(ctx, id) // Send will tell whoever needs to know
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close closes all connections. Messages under way may still end.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, h := range c.hosts {
		delete(c.hosts, id)
		h.close()
	}
}

func (c *Client) host(id datastorehb.HostID) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[id]; h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("no address is known for it: add host %d to the configuration", id)
}

func (c *Client) exchange(ctx context.Context, to datastorehb.HostID, method, path string, body []byte) ([]byte, error) {
	h, err := c.host(to)
	if err != nil {
		return nil, err
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultDeadline)
		defer cancel()
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+hostName(c.identity.cluster, to)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := h.transport.RoundTrip(request)
	if err != nil {
		return nil, explain(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxMessage+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the reply did not arrive in full: %w", err)
	case len(raw) > MaxMessage:
		return nil, errors.New("the reply is larger than allowed")
	case answer.StatusCode/100 != 2:
		return nil, &RemoteError{Host: to, Status: answer.StatusCode, Message: string(bytes.TrimSpace(raw))}
	}
	return raw, nil
}
