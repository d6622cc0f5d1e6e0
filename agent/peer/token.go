package peer

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Token lets a host that has no cluster key join the cluster: with it the host
// finds a member, knows that it speaks to one, and is given the key. Until it runs
// out it is worth as much as the key.
type Token struct {
	Cluster   uuid.UUID
	Authority [ed25519.PublicKeySize]byte // public key of the cluster's certificate authority
	Until     time.Time                   // in whole seconds, by the clock of the member that is asked
	Nonce     [16]byte                    // keeps any two tokens apart
	Members   []netip.AddrPort            // management addresses, 1 to MaxTokenMembers, to be tried in this order
	proof     [sha256.Size]byte           // that a member made the token
}

// MaxTokenMembers is how many addresses a token has room for.
const MaxTokenMembers = 8

// tokenPrefix tells people what they have before them, and programs which version.
const tokenPrefix = "storebeat-join-1-"

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 1024

// NewToken makes a token that this identity's host, and every other member, takes
// until then. The key is the one derived for tokens.
func (i *Identity) NewToken(key [32]byte, until time.Time, members []netip.AddrPort) (Token, error) {
	if len(members) == 0 {
		return Token{}, errors.New("a token needs the address of a member")
	}
	t := Token{Cluster: i.cluster, Authority: i.public, Until: until.UTC().Truncate(time.Second), Members: members[:min(len(members), MaxTokenMembers)]}
	_, _ = rand.Read(t.Nonce[:]) // never fails: it ends the process instead
	t.proof = t.prove(key)
	return t, nil
}

// Check says why a token is worth nothing to a member with that key, at that time
// of day.
func (t *Token) Check(key [32]byte, now time.Time) error {
	if proof := t.prove(key); !hmac.Equal(proof[:], t.proof[:]) {
		return errors.New("the token was not made with this cluster's key: make one with `storebeat host token` on a member of the cluster")
	}
	if !now.Before(t.Until) {
		return fmt.Errorf("the token ran out at %s, and it is %s by the clock of the member that was asked: make another with `storebeat host token`",
			t.Until.Format(time.DateTime), now.UTC().Format(time.DateTime))
	}
	return nil
}

func (t *Token) prove(key [32]byte) (proof [sha256.Size]byte) {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(t.body())
	return [sha256.Size]byte(mac.Sum(nil))
}

// body is everything but the proof: cluster, authority, the time in Unix seconds, nonce, and the
// addresses, each after its length.
func (t *Token) body() []byte {
	b := append([]byte{}, t.Cluster[:]...)
	b = append(b, t.Authority[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Until.Unix()))
	b = append(b, t.Nonce[:]...)
	b = append(b, byte(len(t.Members)))
	for _, m := range t.Members {
		raw, err := m.MarshalBinary()
		if err != nil || len(raw) > 255 {
			raw = nil
		}
		b = append(append(b, byte(len(raw))), raw...)
	}
	return b
}

// String returns the token as people carry it: one word.
func (t *Token) String() string {
	b := append(t.body(), t.proof[:]...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads what String returned. That a member made it is found out only
// by that member. It never repeats the token in an error.
func ParseToken(text string) (Token, error) {
	var t Token
	text = strings.TrimSpace(text)
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(text) > maxToken {
		return t, fmt.Errorf("it does not begin with %s, or is too long: copy what `storebeat host token` prints on a member", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) < 4 || crc32.ChecksumIEEE(b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return t, errors.New("it was not copied in full, or not exactly: copy all of what `storebeat host token` prints on a member")
	}
	if err := t.decode(b[:len(b)-4]); err != nil {
		return Token{}, fmt.Errorf("it can't be read: %w", err)
	}
	if t.String() != text {
		return Token{}, errors.New("it is not in the one form that a token has")
	}
	return t, nil
}

func (t *Token) decode(b []byte) error {
	r := reader{b: b}
	copy(t.Cluster[:], r.take(len(t.Cluster)))
	copy(t.Authority[:], r.take(len(t.Authority)))
	if raw := r.take(8); raw != nil {
		t.Until = time.Unix(int64(binary.LittleEndian.Uint64(raw)), 0).UTC()
	}
	copy(t.Nonce[:], r.take(len(t.Nonce)))
	for range r.number() {
		var m netip.AddrPort
		if err := m.UnmarshalBinary(r.take(r.number())); err != nil || !m.IsValid() {
			return errors.New("an address is damaged")
		}
		t.Members = append(t.Members, m)
	}
	copy(t.proof[:], r.take(len(t.proof)))
	switch {
	case r.short || len(r.b) > 0:
		return errors.New("it has another length than its parts")
	case t.Cluster == uuid.Nil || len(t.Members) == 0 || len(t.Members) > MaxTokenMembers:
		return errors.New("it names no cluster, or no members")
	}
	return nil
}

// reader takes bytes off a slice, and remembers when there were too few.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) number() int {
	if b := r.take(1); b != nil {
		return int(b[0])
	}
	return 0
}
