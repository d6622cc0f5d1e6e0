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

// MaxGenerationSize is the longest encoded generation, in bytes.
const MaxGenerationSize = generationHeader + datastorehb.MaxReason

// EncodeGeneration returns the payload of a generation's record, in the form of
// docs/format.md, at a feature level.
func EncodeGeneration(g Generation, level uint16) ([]byte, error) {
	if err := errors.Join(checkGeneration(g), datastorehb.CheckLevel(level)); err != nil {
		return nil, fmt.Errorf("encode generation %d of machine %s: %w", g.Number, g.VM, err)
	}
	b := appendHeader(make([]byte, 0, generationHeader+len(g.Detail)), generationMagic, level)
	b = append(b, g.VM[:]...)
	b = order.AppendUint64(b, g.Number)
	b = order.AppendUint64(b, g.Term)
	b = order.AppendUint64(b, g.Entry)
	b = order.AppendUint32(b, g.Failures)
	b = order.AppendUint16(b, uint16(g.Owner))
	b = append(b, byte(g.Kind), byte(g.Reason))
	b = order.AppendUint16(b, uint16(len(g.Detail)))
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, g.Detail...), nil
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
	if want := generationHeader + int(order.Uint16(b[56:])); len(b) != want {
		return Generation{}, fmt.Errorf("%d bytes, and its detail makes it %d: it is cut off or damaged", len(b), want)
	}
	if err := zero("the generation", b[58:generationHeader]); err != nil {
		return Generation{}, err
	}
	return Generation{
		VM: uuid.UUID(b[8:24]), Number: order.Uint64(b[24:]), Term: order.Uint64(b[32:]),
		Entry: order.Uint64(b[40:]), Failures: order.Uint32(b[48:]),
		Owner: datastorehb.HostID(order.Uint16(b[52:])),
		Kind:  GenerationKind(b[54]), Reason: ReleaseReason(b[55]),
		Detail: string(b[generationHeader:]),
	}, nil
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
	case g.Kind == Run && g.Reason != NotReleased:
		return fmt.Errorf("it is held to run, and has the release reason %q: leave it out", g.Reason)
	case g.Kind == Released && (g.Reason == NotReleased || g.Reason > lastReason):
		return fmt.Errorf("it is released for reason %d: use 1 to %d", uint8(g.Reason), uint8(lastReason))
	case len(g.Detail) > datastorehb.MaxReason:
		return fmt.Errorf("detail has %d bytes: use at most %d", len(g.Detail), datastorehb.MaxReason)
	case !utf8.ValidString(g.Detail):
		return fmt.Errorf("detail %q is not UTF-8: replace what is not", g.Detail)
	}
	return nil
}

const lastReason = Abandoned
