package poweron

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

const (
	generationMagic  = "SBGN"
	generationHeader = 64
)

// What follows the header of generations that name more than their owner.
const (
	writerSize   = 48
	sharedHeader = generationHeader + 2*writerSize + 8 // owner's run, receiver's run, receiver's term
	leftHeader   = generationHeader + writerSize       // owner's run
)

// On a datastore these are kinds of their own, which programs refuse that do not know them.
const (
	kindShared GenerationKind = 3
	kindLeft   GenerationKind = 4
)

// MaxGenerationSize is the longest encoded generation, in bytes.
const MaxGenerationSize = sharedHeader + datastorehb.MaxReason

// EncodeGeneration returns the payload of a generation's record, in the form of
// docs/format.md, at a feature level.
func EncodeGeneration(g Generation, level uint16) ([]byte, error) {
	kind, size := g.form()
	if err := errors.Join(checkGeneration(g), datastorehb.CheckLevel(level), checkKindLevel(kind, level)); err != nil {
		return nil, fmt.Errorf("encode generation %d of machine %s: %w", g.Number, g.VM, err)
	}
	b := appendHeader(make([]byte, 0, size+len(g.Detail)), generationMagic, level)
	b = append(b, g.VM[:]...)
	b = order.AppendUint64(b, g.Number)
	b = order.AppendUint64(b, g.Term)
	b = order.AppendUint64(b, g.Entry)
	b = order.AppendUint32(b, g.Failures)
	b = order.AppendUint16(b, uint16(g.Owner))
	b = append(b, byte(kind), byte(g.Reason))
	b = order.AppendUint16(b, uint16(len(g.Detail)))
	b = append(b, 0, 0, 0, 0, 0, 0)
	if kind == kindShared || kind == kindLeft {
		b = appendWriter(b, &g.Holder)
	}
	if kind == kindShared {
		b = order.AppendUint64(appendWriter(b, &g.Receiver.Writer), g.Receiver.Term)
	}
	return append(b, g.Detail...), nil
}

// form returns the kind that a generation has on a datastore, and the size of all but its detail.
func (g *Generation) form() (kind GenerationKind, size int) {
	switch {
	case g.Shared():
		return kindShared, sharedHeader
	case g.Left():
		return kindLeft, leftHeader
	}
	return g.Kind, generationHeader
}

func checkKindLevel(kind GenerationKind, level uint16) error {
	if (kind == kindShared || kind == kindLeft) && level < SharedLevel {
		return fmt.Errorf("feature level %d has no generations that are shared, or left to another host: those begin with level %d", level, SharedLevel)
	}
	return nil
}

func appendWriter(b []byte, w *datastorehb.Writer) []byte {
	b = append(order.AppendUint16(b, uint16(w.Host)), 0, 0, 0, 0, 0, 0)
	b = append(append(b, w.Machine[:]...), w.Boot[:]...)
	return order.AppendUint64(b, w.Incarnation)
}

func decodeWriter(b []byte) (datastorehb.Writer, error) {
	w := datastorehb.Writer{Host: datastorehb.HostID(order.Uint16(b)), Machine: uuid.UUID(b[8:24]), Boot: uuid.UUID(b[24:40]), Incarnation: order.Uint64(b[40:])}
	if w.Host == 0 || w.Incarnation == 0 {
		return w, errors.New("it names a run of an agent without host id or incarnation: it is damaged")
	}
	return w, zero("a writer in the generation", b[2:8])
}

// DecodeGeneration reads the payload of a generation's record. It accepts exactly
// what EncodeGeneration returns. That machine and number agree with the record
// that carries them is for the caller to check, as only the caller knows them.
func DecodeGeneration(b []byte) (Generation, error) {
	g, err := decodeGeneration(b)
	if err == nil {
		err = checkGeneration(g)
	}
	if err != nil {
		return Generation{}, fmt.Errorf("decode generation: %w", err)
	}
	return g, nil
}

func decodeGeneration(b []byte) (Generation, error) {
	if err := checkHeader(b, generationMagic, generationHeader); err != nil {
		return Generation{}, err
	}
	kind, size := GenerationKind(b[54]), generationHeader
	switch kind {
	case kindShared:
		size = sharedHeader
	case kindLeft:
		size = leftHeader
	}
	if want := size + int(order.Uint16(b[56:])); len(b) != want {
		return Generation{}, fmt.Errorf("%d bytes, and its detail makes it %d: it is cut off or damaged", len(b), want)
	}
	if err := errors.Join(zero("the generation", b[58:generationHeader]), checkKindLevel(kind, order.Uint16(b[6:]))); err != nil {
		return Generation{}, err
	}
	g := Generation{
		VM: uuid.UUID(b[8:24]), Number: order.Uint64(b[24:]), Term: order.Uint64(b[32:]),
		Entry: order.Uint64(b[40:]), Failures: order.Uint32(b[48:]),
		Owner: datastorehb.HostID(order.Uint16(b[52:])),
		Kind:  kind, Reason: ReleaseReason(b[55]),
		Detail: string(b[size:]),
	}
	return g, g.decodeParties(b)
}

// decodeParties reads the runs of agents that a generation names beside its owner.
func (g *Generation) decodeParties(b []byte) (err error) {
	if g.Kind != kindShared && g.Kind != kindLeft {
		return nil
	}
	shared := g.Kind == kindShared
	g.Kind = Run
	if g.Holder, err = decodeWriter(b[generationHeader:leftHeader]); err != nil || !shared {
		return err
	}
	if g.Receiver.Writer, err = decodeWriter(b[leftHeader:]); err != nil {
		return err
	}
	g.Receiver.Term = order.Uint64(b[leftHeader+writerSize:])
	return nil
}

func checkGeneration(g Generation) error {
	switch {
	case g.VM == noVM:
		return errors.New("it is of the nil UUID: name the machine")
	case g.Number == 0:
		return errors.New("number 0: the first generation is 1")
	case g.Owner == 0:
		return errors.New("host 0 as its holder: a host's id is 1 or more")
	case g.Kind != Run && g.Kind != Released:
		return fmt.Errorf("unknown kind %d: use %d (%s) or %d (%s)", uint8(g.Kind), Run, Run, Released, Released)
	case g.Kind == Run && g.Term == 0:
		return errors.New("it is held to run under term 0: claim a term first")
	case g.Kind == Run && !g.Left() && g.Reason != NotReleased:
		return fmt.Errorf("it is held to run, and has the release reason %q: leave it out", g.Reason)
	case g.Kind == Released && g.Reason == NotReleased, g.Reason > lastReason:
		return fmt.Errorf("it is released for reason %d: use 1 to %d", uint8(g.Reason), uint8(lastReason))
	case len(g.Detail) > datastorehb.MaxReason:
		return fmt.Errorf("detail has %d bytes: use at most %d", len(g.Detail), datastorehb.MaxReason)
	case !utf8.ValidString(g.Detail):
		return fmt.Errorf("detail %q is not UTF-8: replace what is not", g.Detail)
	}
	return checkParties(g)
}

func checkParties(g Generation) error {
	none := datastorehb.Writer{}
	shared := g.Receiver != Party{}
	switch {
	case g.Kind == Released && (g.Holder != none || shared):
		return errors.New("it is released, and names hosts that may run the machine: leave them out")
	case shared && g.Holder == none:
		return errors.New("it is shared, and does not say which run of its owner's agent holds it")
	case g.Holder != none && (g.Holder.Host != g.Owner || g.Holder.Incarnation == 0):
		return fmt.Errorf("it is held by host %d, and names a run of host %d's agent, of incarnation %x", g.Owner, g.Holder.Host, g.Holder.Incarnation)
	case shared && (g.Receiver.Writer.Host == 0 || g.Receiver.Writer.Incarnation == 0 || g.Receiver.Term == 0):
		return errors.New("it is shared with a host without an id, an incarnation or a term")
	case shared && g.Receiver.Writer.Host == g.Owner:
		return fmt.Errorf("it is shared by host %d with itself", g.Owner)
	}
	return nil
}

const lastReason = Abandoned
