package config

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Key is the cluster key: the one secret that all hosts share and from which
// everything else is derived.
type Key [32]byte

// What keys are derived for. Each purpose has its own, so that a weakness in
// one use says nothing about another.
const (
	// ForHeartbeats authenticates network heartbeats.
	ForHeartbeats = "network heartbeat"
	// ForTLS is the seed of the certificates between agents.
	ForTLS = "tls"
	// ForTokens proves that a member made a token to join with.
	ForTokens = "join token"
)

// String keeps the key out of logs and error messages.
func (k Key) String() string { return "[cluster key]" }

// GoString keeps the key out of %#v.
func (k Key) GoString() string { return k.String() }

// Format keeps the key out of every other verb, such as %x.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// NewKey makes a key out of the kernel's randomness.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails: it ends the process instead
	return k
}

// Derive returns the key for one purpose.
func Derive(key Key, purpose string) [32]byte {
	derived, err := hkdf.Key(sha256.New, key[:], nil, "storebeat 1 "+purpose, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("deriving a key of %d bytes: %v", sha256.Size, err)) // only lengths are checked, and ours is fixed
	}
	return [32]byte(derived)
}

// WriteKey writes a key to a new file that only its owner may read. It never
// overwrites one: the old key may be in use on other hosts.
func WriteKey(path string, key Key) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cluster key %s exists already: keep it, or remove it first if no host uses it", path)
	}
	if err != nil {
		return fmt.Errorf("writing the cluster key: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s\n", hex.EncodeToString(key[:]))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the cluster key: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// ReadKey reads a key file and refuses one that others could have read.
func ReadKey(path string) (Key, error) {
	// Not to block, should the path lead to a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("cluster key %s does not exist: copy it from another host, or let \"storebeat init\" make one for a new cluster", path)
	}
	if errors.Is(err, fs.ErrPermission) {
		return Key{}, fmt.Errorf("cluster key %s may not be read by this user: run the command as the user of the agent (root)", path)
	}
	if err != nil {
		return Key{}, fmt.Errorf("reading the cluster key: %w", err)
	}
	defer f.Close()
	if err := checkKeyFile(f, path); err != nil {
		return Key{}, err
	}
	const longest = 128
	content, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return Key{}, fmt.Errorf("reading the cluster key: %w", err)
	}
	return parseKey(path, content)
}

func checkKeyFile(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("examining the cluster key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cluster key %s is not an ordinary file: name the file that holds the key", path)
	}
	if p := info.Mode().Perm(); p&0o077 != 0 {
		return fmt.Errorf("cluster key %s has mode %#o, so others may have read it: run \"chmod 600 %s\", and make a new key if they should not know it", path, p, path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("cluster key %s belongs to user %d: run \"chown %d %s\"", path, s.Uid, os.Geteuid(), path)
	}
	return nil
}

// parseKey never repeats the content in an error: it may be nearly right.
func parseKey(path string, content []byte) (Key, error) {
	digits := bytes.TrimSpace(content)
	var k Key
	if len(digits) != hex.EncodedLen(len(k)) {
		return Key{}, fmt.Errorf("cluster key %s has %d characters instead of %d hexadecimal digits: copy it again from another host", path, len(digits), hex.EncodedLen(len(k)))
	}
	if _, err := hex.Decode(k[:], digits); err != nil {
		return Key{}, fmt.Errorf("cluster key %s holds something other than hexadecimal digits: copy it again from another host", path)
	}
	if k == (Key{}) {
		return Key{}, fmt.Errorf("cluster key %s is all zeros: let \"storebeat init\" make one", path)
	}
	return k, nil
}
