package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A host that joins has no certificate yet. It says so by the name that it asks
// for in the handshake, and gets nowhere but to joinPath.
const joinPath = "/join"

// MaxJoin is the largest request of a host that joins, in bytes: anybody can send one.
const MaxJoin = 8 << 10

// mostJoins is how many hosts can be joining at a time through one member.
const mostJoins = 4

// joinTimeout bounds one request to join, a change of the cluster record included.
const joinTimeout = 20 * time.Second

func joinName(cluster uuid.UUID) string { return "join" + domain(cluster) }

// joining is the configuration for hosts that have no certificate.
func (i *Identity) joining() *tls.Config {
	c := i.common()
	c.ClientAuth = tls.NoClientCert
	return c
}

// join takes the request of a host that has no certificate: what it is worth, the
// handler finds out by its token.
func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != joinPath || r.Method != http.MethodPost || s.options.Join == nil {
		http.NotFound(w, r)
		return
	}
	if s.joins.Add(1) > mostJoins {
		s.joins.Add(-1)
		http.Error(w, "other hosts are joining at this moment: try again", http.StatusServiceUnavailable)
		return
	}
	defer s.joins.Add(-1)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxJoin))
	if err != nil {
		http.Error(w, "the request did not arrive in full, or is too large: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), joinTimeout)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(joinTimeout + 5*time.Second)) // later than for messages
	reply, err := s.options.Join(ctx, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(reply) // a host that is gone asks again
}

// Joining is a connection of a host that joins to a member, whose certificate
// was issued by the authority that the token names.
type Joining struct {
	conn  net.Conn
	token *Token
}

// DialJoin connects to the first member of a token that answers.
func DialJoin(ctx context.Context, t *Token) (*Joining, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		ServerName: joinName(t.Cluster),
		// The certificate of the authority is not at hand, only its public key: VerifyConnection
		// checks the member's certificate with it.
		InsecureSkipVerify:     true,
		VerifyConnection:       t.verify,
		SessionTicketsDisabled: true,
	}
	var errs []error
	for _, address := range t.Members {
		plain, err := dialAfter(ctx, 0, address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		conn := tls.Client(plain, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			errs = append(errs, fmt.Errorf("handshake with %v: %w", address, err))
			continue
		}
		return &Joining{conn, t}, nil
	}
	return nil, fmt.Errorf("no member of the cluster could be asked: %w", errors.Join(errs...))
}

// verify checks that the cluster's authority issued the certificate, for a host of
// the cluster. The handshake has proven that the other side has its private key.
func (t *Token) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the member showed no certificate")
	}
	leaf := state.PeerCertificates[0]
	if leaf.SignatureAlgorithm != x509.PureEd25519 || !ed25519.Verify(t.Authority[:], leaf.RawTBSCertificate, leaf.Signature) {
		return errors.New("what answers is no member of the cluster that the token is for")
	}
	if _, err := (&Identity{cluster: t.Cluster}).hostOf(state); err != nil || leaf.IsCA {
		return fmt.Errorf("what answers shows a certificate that is no host's: %w", err)
	}
	return nil
}

// Local returns this host's own address on the way to the member.
func (j *Joining) Local() netip.Addr {
	a, err := netip.ParseAddrPort(j.conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Ask sends the request and returns the member's answer. When it fails, the host
// may have joined all the same: asking once more is safe.
func (j *Joining) Ask(ctx context.Context, body []byte) ([]byte, error) {
	if len(body) > MaxJoin {
		return nil, fmt.Errorf("a request of %d bytes can't be sent: at most %d are allowed", len(body), MaxJoin)
	}
	stop := context.AfterFunc(ctx, func() { _ = j.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+joinName(j.token.Cluster)+joinPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if err := request.Write(j.conn); err != nil {
		return nil, fmt.Errorf("asking %v: %w", j.conn.RemoteAddr(), err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(j.conn), request)
	if err != nil {
		return nil, fmt.Errorf("waiting for the answer of %v: %w", j.conn.RemoteAddr(), err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxMessage+1))
	switch {
	case err != nil || len(raw) > MaxMessage:
		return nil, fmt.Errorf("the answer of %v did not arrive in full, or is too large: %w", j.conn.RemoteAddr(), err)
	case answer.StatusCode/100 != 2:
		return nil, &RemoteError{Status: answer.StatusCode, Message: strings.TrimSpace(string(raw))}
	}
	return raw, nil
}

// Close ends the connection.
func (j *Joining) Close() { _ = j.conn.Close() }
