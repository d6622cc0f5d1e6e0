package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

const (
	// agentLimit is how long the guest agent may take to show that it is there. One
	// that is not there never answers: QEMU takes the words and keeps them.
	agentLimit = 2 * time.Second
	// agentRefusal is how long a refusal is waited for: to a shutdown that it carries
	// out the guest agent says nothing.
	agentRefusal = time.Second
	// maxAgentReply is the longest answer that is read, in bytes.
	maxAgentReply = 64 << 10
	// agentMark begins an exchange: both sides drop what came before it.
	agentMark = 0xff
)

// errNoAgent means that the machine has no channel for a guest agent.
var errNoAgent = errors.New("the machine has no guest agent")

// agentReply is an answer of the guest agent.
type agentReply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// powerDown asks the guest agent behind a socket to switch the guest off in order.
// An error means that it is not there, or refuses; nil that it was asked, and has
// not refused.
func powerDown(ctx context.Context, socket string) error {
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return errNoAgent
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("connect to the guest agent: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	replies := bufio.NewReader(conn)
	if err := greet(conn, replies); err != nil {
		return fmt.Errorf("the guest agent does not answer: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(agentRefusal))
	if _, err := conn.Write([]byte(`{"execute":"guest-shutdown","arguments":{"mode":"powerdown"}}` + "\n")); err != nil {
		return fmt.Errorf("ask the guest agent: %w", err)
	}
	reply, err := readReply(replies)
	if err == nil && reply.Error != nil {
		return fmt.Errorf("the guest agent refuses: %s", reply.Error.Desc)
	}
	return nil // silence is consent
}

// greet makes sure that somebody is there, and that what is read next is an answer to
// what is asked next, and not to what another agent had asked before.
func greet(conn net.Conn, replies *bufio.Reader) error {
	id := time.Now().UnixNano() & (1<<52 - 1) // a number that survives any JSON
	_ = conn.SetDeadline(time.Now().Add(agentLimit))
	if _, err := conn.Write(append([]byte{agentMark}, fmt.Sprintf(`{"execute":"guest-sync-delimited","arguments":{"id":%d}}`+"\n", id)...)); err != nil {
		return err
	}
	for {
		reply, err := readReply(replies)
		if err != nil {
			return err
		}
		var got int64
		if json.Unmarshal(reply.Return, &got) == nil && got == id {
			return nil
		}
	}
}

// readReply reads one line. Marks, and what is no answer, are skipped.
func readReply(replies *bufio.Reader) (agentReply, error) {
	for {
		line, err := readLine(replies)
		if err != nil {
			return agentReply{}, err
		}
		if at := bytes.LastIndexByte(line, agentMark); at >= 0 {
			line = line[at+1:]
		}
		var reply agentReply
		if json.Unmarshal(line, &reply) == nil && (reply.Return != nil || reply.Error != nil) {
			return reply, nil
		}
	}
}

func readLine(replies *bufio.Reader) (line []byte, err error) {
	for {
		part, err := replies.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxAgentReply {
			return nil, fmt.Errorf("an answer of more than %d bytes", maxAgentReply)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
