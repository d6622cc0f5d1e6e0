package partition

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// The network heartbeat, format version 1, little-endian. Magic, version,
// length and cluster keep their places in every version, and so does the MAC,
// which is the last thing in the packet and covers everything before it.
//
//	  0   4  magic "SBnh"
//	  4   2  format version
//	  6   2  feature level
//	  8  16  cluster
//	 24   2  length of the whole packet, MAC included
//	 26   2  recipient
//	 28   2  sender: host
//	 30   2  master followed, 0 for none
//	 32  16  sender: machine
//	 48  16  sender: boot
//	 64   8  sender: incarnation
//	 72   8  sequence
//	 80   4  flags
//	 84   1  number of datastores, d
//	 85   1  number of incarnations of the recipient that acks name, r
//	 86   1  number of acks, a
//	 87   1  zero
//	 88   8  echo: incarnation
//	 96   8  echo: sequence
//	104   8  memory total
//	112   8  memory used
//	120   8  cluster record: revision
//	128   8  cluster record: sum
//	136   2  lowest feature level that the sender knows
//	138   2  highest feature level
//	140   4  lease, in milliseconds
//	144   4  takeover time, in milliseconds
//	148   4  zero
//	152  32  version of the sender's program, UTF-8, padded with zeros
//	184      d × { datastore 16, flags 1 }, in increasing order of datastores
//	         r × { boot 16, incarnation 8 }, in the order in which acks first name them
//	         a × { index of the datastore 1, index of the incarnation 1, sequence 8 }
//	        32  HMAC-SHA-256
const (
	packetMagic = "SBnh"
	// PacketVersion is the format version that Seal writes.
	PacketVersion = 1
	// The oldest that Open still takes: that before, once there is one.
	oldestPacketVersion = 1

	headerSize      = 184
	macSize         = sha256.Size
	datastoreSize   = 17
	incarnationSize = 24
	ackSize         = 10

	atVersion = 4
	atFeature = 6
	atCluster = 8
	atLength  = 24
	atFrom    = 28
	atCounts  = 84
	atPadding = 148

	atVersionText = 152
)

// MaxPacketDatastores and MaxPacketAcks are what every packet has room for,
// with acks for up to two incarnations of the recipient. A packet may hold more of one
// and less of the other, as long as it fits MaxPacket.
const (
	MaxPacketDatastores = 32
	MaxPacketAcks       = 32
)

// A negative array length stops the build if MaxPacket no longer holds what is promised.
var _ [MaxPacket - (headerSize + MaxPacketDatastores*datastoreSize + 2*incarnationSize + MaxPacketAcks*ackSize + macSize)]struct{}

// Why a packet was refused. Errors of Seal and Open wrap one of these.
var (
	ErrTruncated      = errors.New("packet is truncated")
	ErrOversized      = errors.New("packet is too large")
	ErrNotAHeartbeat  = errors.New("not a storebeat heartbeat")
	ErrForeignCluster = errors.New("packet of a foreign cluster")
	ErrFutureVersion  = errors.New("packet of a newer format version")
	ErrRetiredVersion = errors.New("packet of a retired format version")
	ErrBadMAC         = errors.New("packet fails authentication")
	ErrNotForMe       = errors.New("packet is for another host")
	ErrMalformed      = errors.New("packet is malformed")
)

// Key authenticates network heartbeats.
type Key [32]byte

// NetworkKey derives the key of network heartbeats from the cluster's secret.
// Another cluster, or another purpose, has another key, even with the same secret.
func NetworkKey(secret []byte, cluster uuid.UUID) (Key, error) {
	var k Key
	raw, err := hkdf.Key(sha256.New, secret, cluster[:], "storebeat network heartbeat", len(k))
	if err != nil {
		return k, fmt.Errorf("derive the network key of cluster %s: %w", cluster, err)
	}
	copy(k[:], raw)
	return k, nil
}

// Seal appends the packet, with its MAC, to dst. On error it returns dst as it was.
func Seal(dst []byte, p Packet, key Key) ([]byte, error) {
	incarnations, err := checkLists(&p)
	if err != nil {
		return dst, err
	}
	size := headerSize + len(p.Datastores)*datastoreSize + len(incarnations)*incarnationSize + len(p.Acks)*ackSize + macSize
	if size > MaxPacket {
		return dst, fmt.Errorf("%w: %d datastores and %d acks need %d bytes, %d are allowed; leave acks to the next packet",
			ErrOversized, len(p.Datastores), len(p.Acks), size, MaxPacket)
	}
	start := len(dst)
	out := appendHeader(dst, &p, size, len(incarnations))
	for _, d := range p.Datastores {
		out = append(append(out, d.Datastore[:]...), byte(d.Flags))
	}
	for _, r := range incarnations {
		out = append(out, r.boot[:]...)
		out = binary.LittleEndian.AppendUint64(out, r.incarnation)
	}
	for _, a := range p.Acks {
		out = append(out, byte(indexOfDatastore(p.Datastores, a.Datastore)), byte(indexOfRun(incarnations, a)))
		out = binary.LittleEndian.AppendUint64(out, a.Sequence)
	}
	return append(out, macOf(out[start:], key)...), nil
}

// textual reports whether a version is one that Seal takes.
func textual(version string) bool {
	return len(version) <= MaxVersion && utf8.ValidString(version) && !strings.ContainsRune(version, 0)
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// run is one run of the recipient's agent, as acks name it.
type run struct {
	boot        uuid.UUID
	incarnation uint64
}

// checkLists refuses lists that the format cannot carry and returns the
// recipient's incarnations that the acks name.
func checkLists(p *Packet) ([]run, error) {
	if len(p.Datastores) > 255 || len(p.Acks) > 255 {
		return nil, fmt.Errorf("%w: %d datastores and %d acks, the format counts to 255", ErrOversized, len(p.Datastores), len(p.Acks))
	}
	for i := 1; i < len(p.Datastores); i++ {
		if a, b := p.Datastores[i-1].Datastore, p.Datastores[i].Datastore; bytes.Compare(a[:], b[:]) >= 0 {
			return nil, fmt.Errorf("%w: datastore %s after %s; sort them and name each once", ErrMalformed, b, a)
		}
	}
	if err := datastorehb.CheckLevel(p.Level); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !textual(p.Version) {
		return nil, fmt.Errorf("%w: version %q is not UTF-8 of at most %d bytes", ErrMalformed, p.Version, MaxVersion)
	}
	var runs []run
	for _, a := range p.Acks {
		if indexOfDatastore(p.Datastores, a.Datastore) < 0 {
			return nil, fmt.Errorf("%w: ack for datastore %s, which the packet does not report", ErrMalformed, a.Datastore)
		}
		if indexOfRun(runs, a) < 0 {
			runs = append(runs, run{a.Boot, a.Incarnation})
		}
	}
	return runs, nil
}

func indexOfDatastore(list []DatastoreReport, id uuid.UUID) int {
	for i := range list {
		if list[i].Datastore == id {
			return i
		}
	}
	return -1
}

func indexOfRun(list []run, a Ack) int {
	for i, r := range list {
		if r.boot == a.Boot && r.incarnation == a.Incarnation {
			return i
		}
	}
	return -1
}

func appendHeader(dst []byte, p *Packet, size, runs int) []byte {
	le := binary.LittleEndian
	dst = append(dst, packetMagic...)
	dst = le.AppendUint16(dst, PacketVersion)
	dst = le.AppendUint16(dst, p.Level)
	dst = append(dst, p.Cluster[:]...)
	dst = le.AppendUint16(dst, uint16(size))
	dst = le.AppendUint16(dst, uint16(p.To))
	dst = le.AppendUint16(dst, uint16(p.From.Host))
	dst = le.AppendUint16(dst, uint16(p.Master))
	dst = append(dst, p.From.Machine[:]...)
	dst = append(dst, p.From.Boot[:]...)
	dst = le.AppendUint64(dst, p.From.Incarnation)
	dst = le.AppendUint64(dst, p.Sequence)
	dst = le.AppendUint32(dst, uint32(p.Flags))
	dst = append(dst, byte(len(p.Datastores)), byte(runs), byte(len(p.Acks)), 0)
	dst = le.AppendUint64(dst, p.Echo.Incarnation)
	dst = le.AppendUint64(dst, p.Echo.Sequence)
	dst = le.AppendUint64(dst, p.MemoryTotal)
	dst = le.AppendUint64(dst, p.MemoryUsed)
	dst = le.AppendUint64(dst, p.Revision)
	dst = le.AppendUint64(dst, p.Sum)
	dst = le.AppendUint16(dst, p.Levels.Lowest)
	dst = le.AppendUint16(dst, p.Levels.Highest)
	dst = le.AppendUint32(dst, uint32(p.Lease/time.Millisecond))
	dst = le.AppendUint32(dst, uint32(p.Takeover/time.Millisecond))
	dst = le.AppendUint32(dst, 0)
	var version [MaxVersion]byte
	copy(version[:], p.Version)
	return append(dst, version[:]...)
}

func macOf(message []byte, key Key) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(message)
	return h.Sum(nil)
}

// Open checks and decodes one datagram for the host to. Until the MAC has been
// verified nothing is believed; the reasons told before that are hints for the
// log. Whether the packet is fresh is not decided here but by Peers.
func Open(raw []byte, cluster uuid.UUID, to datastorehb.HostID, key Key) (Packet, error) {
	if err := checkFrame(raw, cluster); err != nil {
		return Packet{}, err
	}
	body, mac := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if !hmac.Equal(mac, macOf(body, key)) {
		return Packet{}, fmt.Errorf("%w: it says it is from host %d; compare the key files of both hosts",
			ErrBadMAC, binary.LittleEndian.Uint16(raw[atFrom:]))
	}
	p := openHeader(body)
	if p.To != to {
		return Packet{}, fmt.Errorf("%w: host %d sent it to host %d, this is host %d; compare the addresses in the configuration of both", ErrNotForMe, p.From.Host, p.To, to)
	}
	if !zeros(body[atPadding:atPadding+4]) || !textual(p.Version) {
		return Packet{}, fmt.Errorf("%w: version %q, or bytes that must be zero", ErrMalformed, p.Version)
	}
	if p.From.Host == 0 || p.From.Incarnation == 0 || p.Sequence == 0 {
		return Packet{}, fmt.Errorf("%w: host %d, incarnation %d, sequence %d: none may be zero", ErrMalformed, p.From.Host, p.From.Incarnation, p.Sequence)
	}
	if err := openLists(&p, body); err != nil {
		return Packet{}, err
	}
	return p, nil
}

// checkFrame judges what holds its place in every format version.
func checkFrame(raw []byte, cluster uuid.UUID) error {
	switch {
	case len(raw) > MaxPacket:
		return fmt.Errorf("%w: %d bytes, %d are allowed", ErrOversized, len(raw), MaxPacket)
	case len(raw) >= len(packetMagic) && string(raw[:len(packetMagic)]) != packetMagic:
		return fmt.Errorf("%w: it begins with %x", ErrNotAHeartbeat, raw[:len(packetMagic)])
	case len(raw) < headerSize+macSize:
		return fmt.Errorf("%w: %d bytes, the shortest has %d", ErrTruncated, len(raw), headerSize+macSize)
	}
	if c := uuid.UUID(raw[atCluster : atCluster+16]); c != cluster {
		return fmt.Errorf("%w: %s, this is %s; give the clusters different ports", ErrForeignCluster, c, cluster)
	}
	if err := checkVersion("version", binary.LittleEndian.Uint16(raw[atVersion:]), oldestPacketVersion, PacketVersion); err != nil {
		return err
	}
	if err := checkVersion("feature level", binary.LittleEndian.Uint16(raw[atFeature:]), 1, datastorehb.FeatureLevel); err != nil {
		return err
	}
	switch n := int(binary.LittleEndian.Uint16(raw[atLength:])); {
	case n > len(raw):
		return fmt.Errorf("%w: %d bytes of %d", ErrTruncated, len(raw), n)
	case n < len(raw):
		return fmt.Errorf("%w: %d bytes, its header says %d", ErrOversized, len(raw), n)
	}
	return nil
}

func checkVersion(what string, got, oldest, newest uint16) error {
	switch {
	case got > newest:
		return fmt.Errorf("%w: %s %d, this agent knows %d; upgrade this agent", ErrFutureVersion, what, got, newest)
	case got < oldest:
		return fmt.Errorf("%w: %s %d, the oldest known is %d; upgrade the sender", ErrRetiredVersion, what, got, oldest)
	}
	return nil
}

func openHeader(b []byte) Packet {
	le := binary.LittleEndian
	return Packet{
		Level:   le.Uint16(b[atFeature:]),
		Cluster: uuid.UUID(b[8:24]),
		To:      datastorehb.HostID(le.Uint16(b[26:])),
		Master:  datastorehb.HostID(le.Uint16(b[30:])),
		From: datastorehb.Writer{
			Host:        datastorehb.HostID(le.Uint16(b[28:])),
			Machine:     uuid.UUID(b[32:48]),
			Boot:        uuid.UUID(b[48:64]),
			Incarnation: le.Uint64(b[64:]),
		},
		Sequence:    le.Uint64(b[72:]),
		Flags:       PacketFlags(le.Uint32(b[80:])),
		Echo:        Echo{Incarnation: le.Uint64(b[88:]), Sequence: le.Uint64(b[96:])},
		MemoryTotal: le.Uint64(b[104:]),
		MemoryUsed:  le.Uint64(b[112:]),
		Revision:    le.Uint64(b[120:]),
		Sum:         le.Uint64(b[128:]),
		Levels:      datastorehb.Levels{Lowest: le.Uint16(b[136:]), Highest: le.Uint16(b[138:])},
		Lease:       time.Duration(le.Uint32(b[140:])) * time.Millisecond,
		Takeover:    time.Duration(le.Uint32(b[144:])) * time.Millisecond,
		Version:     string(bytes.TrimRight(b[atVersionText:atVersionText+MaxVersion], "\x00")),
	}
}

// openLists decodes what follows the header. It takes only what Seal would have
// written, so that every packet has one form.
func openLists(p *Packet, body []byte) error {
	datastores, runs, acks := int(body[atCounts]), int(body[atCounts+1]), int(body[atCounts+2])
	rest := body[headerSize:]
	if want := datastores*datastoreSize + runs*incarnationSize + acks*ackSize; want != len(rest) || body[atCounts+3] != 0 {
		return fmt.Errorf("%w: %d datastores, %d incarnations and %d acks do not fill %d bytes", ErrMalformed, datastores, runs, acks, len(rest))
	}
	if datastores > 0 {
		p.Datastores = make([]DatastoreReport, datastores)
	}
	for i := range p.Datastores {
		p.Datastores[i] = DatastoreReport{Datastore: uuid.UUID(rest[:16]), Flags: DatastoreFlags(rest[16])}
		rest = rest[datastoreSize:]
	}
	listed := make([]run, runs)
	for i := range listed {
		listed[i] = run{uuid.UUID(rest[:16]), binary.LittleEndian.Uint64(rest[16:])}
		rest = rest[incarnationSize:]
	}
	if err := openAcks(p, listed, rest); err != nil {
		return err
	}
	named, err := checkLists(p)
	if err != nil {
		return err
	}
	if !slices.Equal(named, listed) {
		return fmt.Errorf("%w: incarnations of the recipient are not listed in the order of the acks, each once", ErrMalformed)
	}
	return nil
}

func openAcks(p *Packet, runs []run, acks []byte) error {
	if len(acks) > 0 {
		p.Acks = make([]Ack, len(acks)/ackSize)
	}
	for i := range p.Acks {
		at := acks[i*ackSize:]
		d, r := int(at[0]), int(at[1])
		if d >= len(p.Datastores) || r >= len(runs) {
			return fmt.Errorf("%w: ack %d names datastore %d and incarnation %d, which are not there", ErrMalformed, i, d, r)
		}
		p.Acks[i] = Ack{
			Datastore:   p.Datastores[d].Datastore,
			Boot:        runs[r].boot,
			Incarnation: runs[r].incarnation,
			Sequence:    binary.LittleEndian.Uint64(at[2:]),
		}
	}
	return nil
}
