package peer

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Wall clocks of hosts may be wrong by any amount (R13), so no date may decide
// whether hosts can talk. Certificates are good from the first to the last year
// that X.509 can name, and are checked as of a fixed date in between.
var (
	validFrom  = time.Date(1970, time.January, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	verifyDate = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// Identity is who this host is to other hosts: a certificate that the holder of
// the cluster key issued, and the authority to check those of others.
type Identity struct {
	cluster   uuid.UUID
	self      datastorehb.HostID
	authority *x509.CertPool
	own       tls.Certificate
	public    [ed25519.PublicKeySize]byte // of the authority
}

// NewIdentity derives the certificate authority of the cluster from its key and
// issues a certificate for this host. The authority comes out the same on every
// host; the certificate's private key is new each time and never leaves memory.
func NewIdentity(key [32]byte, cluster uuid.UUID, self datastorehb.HostID) (*Identity, error) {
	if self == 0 || cluster == uuid.Nil {
		return nil, fmt.Errorf("no certificate can be made for host %d of cluster %v: both must be set", self, cluster)
	}
	ca, signer, err := authority(key, cluster)
	if err != nil {
		return nil, fmt.Errorf("deriving the cluster's certificate authority: %w", err)
	}
	own, err := issue(ca, signer, hostName(cluster, self))
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for host %d: %w", self, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	public := [ed25519.PublicKeySize]byte(signer.Public().(ed25519.PublicKey))
	return &Identity{cluster: cluster, self: self, authority: pool, own: own, public: public}, nil
}

// authority is a pure function of its arguments: Ed25519 signs without chance.
func authority(key [32]byte, cluster uuid.UUID) (*x509.Certificate, ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, key[:], cluster[:], "storebeat 1 certificate authority", ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	signer := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "storebeat cluster " + cluster.String()},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(raw)
	return ca, signer, err
}

func issue(ca *x509.Certificate, signer ed25519.PrivateKey, name string) (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, public, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: private}, nil
}

// common is what both sides ask for.
func (i *Identity) common() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.own},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"http/1.1"},
		Time:         func() time.Time { return verifyDate },
		// A resumed session would skip the check of the certificate.
		SessionTicketsDisabled: true,
	}
}

func (i *Identity) server() *tls.Config {
	c := i.common()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = i.authority
	c.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := i.hostOf(state)
		return err
	}
	join := i.joining()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == joinName(i.cluster) {
			return join, nil
		}
		return nil, nil
	}
	return c
}

// client returns the configuration for connections to one host: its name is
// checked like that of any web server.
func (i *Identity) client(to datastorehb.HostID) *tls.Config {
	c := i.common()
	c.RootCAs = i.authority
	c.ServerName = hostName(i.cluster, to)
	return c
}

// hostOf returns the host that the other side's verified certificate names.
func (i *Identity) hostOf(state tls.ConnectionState) (datastorehb.HostID, error) {
	if len(state.PeerCertificates) == 0 || len(state.PeerCertificates[0].DNSNames) != 1 {
		return 0, errors.New("the certificate names no host")
	}
	name := state.PeerCertificates[0].DNSNames[0]
	rest, ok := strings.CutSuffix(name, domain(i.cluster))
	number, ok2 := strings.CutPrefix(rest, "host-")
	id, err := strconv.ParseUint(number, 10, 16)
	if !ok || !ok2 || err != nil || id == 0 {
		return 0, fmt.Errorf("the certificate is for %q, which is no host of cluster %v", name, i.cluster)
	}
	return datastorehb.HostID(id), nil
}

func hostName(cluster uuid.UUID, id datastorehb.HostID) string {
	return fmt.Sprintf("host-%d%s", id, domain(cluster))
}

func domain(cluster uuid.UUID) string { return "." + cluster.String() + ".storebeat" }
