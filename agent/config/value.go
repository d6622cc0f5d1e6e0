package config

import (
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/zclconf/go-cty/cty"

	"storebeat/agent/core"
	"storebeat/agent/notify"
	"storebeat/datastorehb"
)

// Memory is an amount of memory: a number of bytes, or a share of what there is.
type Memory struct {
	Bytes   uint64
	Percent int // 0 when Bytes counts
}

// Of returns the amount in bytes on a host that has total bytes.
func (m Memory) Of(total uint64) uint64 {
	if m.Percent == 0 {
		return min(m.Bytes, total)
	}
	return total / 100 * uint64(m.Percent)
}

// String shows the amount as it could stand in the file. It rounds nothing: two
// amounts that are shown alike are alike.
func (m Memory) String() string {
	if m.Percent != 0 {
		return fmt.Sprintf("%d%%", m.Percent)
	}
	bytes, units := m.Bytes, []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && bytes != 0 && bytes%1024 == 0 {
		bytes, units = bytes/1024, units[1:]
	}
	return fmt.Sprint(bytes, units[0])
}

func text(p *string) field[string] { return field[string]{p, textOf, strconv.Quote} }

func truth(p *bool) field[bool] { return field[bool]{p, truthOf, strconv.FormatBool} }

func number(p *int) field[int] { return field[int]{p, numberOf, strconv.Itoa} }

func duration(p *time.Duration) field[time.Duration] {
	return field[time.Duration]{p, durationOf, quoted[time.Duration]}
}

func identity(p *uuid.UUID) field[uuid.UUID] {
	return field[uuid.UUID]{p, identityOf, quoted[uuid.UUID]}
}

func memory(p *Memory) field[Memory] { return field[Memory]{p, memoryOf, quoted[Memory]} }

func hostID(p *datastorehb.HostID) field[datastorehb.HostID] {
	return field[datastorehb.HostID]{p, hostIDOf, func(id datastorehb.HostID) string { return strconv.Itoa(int(id)) }}
}

// barrier shows a barrier that is not set as the empty text.
func barrier(p **Barrier) field[*Barrier] {
	show := func(b *Barrier) string {
		if b == nil {
			return `""`
		}
		return quoted(b)
	}
	return field[*Barrier]{p, barrierOf, show}
}

func addressPort(p *netip.AddrPort, port uint16) field[netip.AddrPort] {
	parse := func(v cty.Value) (netip.AddrPort, error) { return addressPortOf(v, port) }
	return field[netip.AddrPort]{p, parse, quoted[netip.AddrPort]}
}

// listening is an address to listen on, which may be every address of the host.
// The empty text is none.
func listening(p *netip.AddrPort, port uint16) field[netip.AddrPort] {
	parse := func(v cty.Value) (netip.AddrPort, error) { return listeningOf(v, port) }
	show := func(a netip.AddrPort) string {
		if !a.IsValid() {
			return `""`
		}
		return quoted(a)
	}
	return field[netip.AddrPort]{p, parse, show}
}

func listeningOf(v cty.Value, port uint16) (netip.AddrPort, error) {
	s, err := textOf(v)
	if err != nil || s == "" {
		return netip.AddrPort{}, err
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Addr().IsUnspecified() && a.Port() != 0 {
		return a, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.IsUnspecified() {
		return netipPort(a, port), nil
	}
	return addressPortOf(v, port)
}

func texts(p *[]string) field[[]string] {
	return field[[]string]{p, listOf(textOf), func(l []string) string { return showList(l, strconv.Quote) }}
}

// kinds are names of events.
func kinds(p *[]core.Kind) field[[]core.Kind] {
	return field[[]core.Kind]{p, listOf(kindOf), func(l []core.Kind) string {
		return showList(l, func(k core.Kind) string { return strconv.Quote(string(k)) })
	}}
}

func rate(p *notify.Rate) field[notify.Rate] {
	return field[notify.Rate]{p, rateOf, quoted[notify.Rate]}
}

func addresses(p *[]netip.Addr) field[[]netip.Addr] {
	return field[[]netip.Addr]{p, listOf(addressOf), func(l []netip.Addr) string { return showList(l, quoted[netip.Addr]) }}
}

// choice is a text that must be one of those given.
func choice[T ~string](p *T, options ...T) field[T] {
	parse := func(v cty.Value) (T, error) {
		s, err := textOf(v)
		if err != nil {
			return "", err
		}
		for _, o := range options {
			if T(s) == o {
				return o, nil
			}
		}
		return "", fmt.Errorf("%q is not one of %s", s, showList(options, func(o T) string { return strconv.Quote(string(o)) }))
	}
	return field[T]{p, parse, func(t T) string { return strconv.Quote(string(t)) }}
}

func quoted[T fmt.Stringer](v T) string { return strconv.Quote(v.String()) }

func showList[T any](list []T, show func(T) string) string {
	shown := make([]string, 0, len(list))
	for _, v := range list {
		shown = append(shown, show(v))
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

func textOf(v cty.Value) (string, error) {
	if v.Type() != cty.String {
		return "", fmt.Errorf("%s is not a text: write it in quotes", showCty(v))
	}
	return v.AsString(), nil
}

func truthOf(v cty.Value) (bool, error) {
	if v.Type() != cty.Bool {
		return false, fmt.Errorf("%s is neither true nor false, without quotes", showCty(v))
	}
	return v.True(), nil
}

func numberOf(v cty.Value) (int, error) {
	if v.Type() != cty.Number {
		return 0, fmt.Errorf("%s is not a whole number, without quotes", showCty(v))
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || int64(int(n)) != n {
		return 0, fmt.Errorf("%s is not a whole number of common size", showCty(v))
	}
	return int(n), nil
}

func hostIDOf(v cty.Value) (datastorehb.HostID, error) {
	n, err := numberOf(v)
	if err != nil {
		return 0, err
	}
	if n < 1 || n > int(MaxHostID) {
		return 0, fmt.Errorf("%d is not a host id: take a free number from 1 to %d", n, MaxHostID)
	}
	return datastorehb.HostID(n), nil
}

func durationOf(v cty.Value) (time.Duration, error) {
	if v.Type() != cty.String {
		return 0, fmt.Errorf("%s is not a duration: write it in quotes with its unit, such as \"1.5s\" or \"250ms\"", showCty(v))
	}
	d, err := time.ParseDuration(v.AsString())
	if err != nil {
		return 0, fmt.Errorf("%s is not a duration: write a number with its unit, such as \"1.5s\" or \"250ms\"", showCty(v))
	}
	return d, nil
}

func kindOf(v cty.Value) (core.Kind, error) {
	s, err := textOf(v)
	if err != nil {
		return "", err
	}
	if _, ok := core.AboutKind(core.Kind(s)); !ok {
		return "", fmt.Errorf("there is no event of kind %s: \"storebeat explain event\" lists all", showCty(v))
	}
	return core.Kind(s), nil
}

// rateOf reads a number per second, minute or hour.
func rateOf(v cty.Value) (notify.Rate, error) {
	refusal := fmt.Errorf("%s is not a rate: write a number from 1 to 1000 per second, minute or hour, such as \"10/m\"", showCty(v))
	if v.Type() != cty.String {
		return notify.Rate{}, refusal
	}
	number, unit, _ := strings.Cut(v.AsString(), "/")
	count, err := strconv.Atoi(number)
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || count < 1 || count > 1000 || per == 0 {
		return notify.Rate{}, refusal
	}
	return notify.Rate{Count: count, Per: per}, nil
}

func identityOf(v cty.Value) (uuid.UUID, error) {
	s, err := textOf(v)
	if err != nil {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(s)
	if err != nil || len(s) != len(uuid.Nil.String()) {
		return uuid.Nil, fmt.Errorf("%s is not a UUID: write it as 8-4-4-4-12 hexadecimal digits; \"uuidgen\" makes one", showCty(v))
	}
	return id, nil
}

func barrierOf(v cty.Value) (*Barrier, error) {
	s, err := textOf(v)
	if err != nil {
		return nil, err
	}
	b, err := datastorehb.ParseWriteBarrier(s)
	if err != nil {
		return nil, fmt.Errorf("%w; leave it out to go by what \"storebeat datastore check\" finds", err)
	}
	return &b, nil
}

func memoryOf(v cty.Value) (Memory, error) {
	const remedy = "write \"48GiB\" or a share of the host's memory such as \"90%\""
	if v.Type() != cty.String {
		return Memory{}, fmt.Errorf("%s is not an amount of memory: %s", showCty(v), remedy)
	}
	if share, ok := strings.CutSuffix(v.AsString(), "%"); ok {
		percent, err := strconv.Atoi(share)
		if err != nil || percent < 1 || percent > 100 {
			return Memory{}, fmt.Errorf("%s is not a share from 1%% to 100%%: %s", showCty(v), remedy)
		}
		return Memory{Percent: percent}, nil
	}
	bytes, err := humanize.ParseBytes(v.AsString())
	if err != nil || bytes == 0 {
		return Memory{}, fmt.Errorf("%s is not an amount of memory: %s", showCty(v), remedy)
	}
	return Memory{Bytes: bytes}, nil
}

// addressOf takes no host names: looking one up may need the very network
// whose loss is being judged.
func addressOf(v cty.Value) (netip.Addr, error) {
	s, err := textOf(v)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s is not an IP address: names are not looked up, because that may fail when it matters", showCty(v))
	}
	return a.Unmap(), usable(a.Unmap())
}

func addressPortOf(v cty.Value, port uint16) (netip.AddrPort, error) {
	s, err := textOf(v)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		if ap.Port() == 0 {
			return netip.AddrPort{}, fmt.Errorf("%s has no usable port: write one from 1 to 65535, or none to use %d", showCty(v), port)
		}
		a := ap.Addr().Unmap() // one address in two forms would pass for two hosts
		return netipPort(a, ap.Port()), usable(a)
	}
	a, err := addressOf(cty.StringVal(strings.Trim(s, "[]")))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w; write \"192.0.2.1\", \"192.0.2.1:%d\", \"2001:db8::1\" or \"[2001:db8::1]:%d\"", err, port, port)
	}
	return netipPort(a, port), nil
}

func netipPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// usable refuses addresses that do not name one host.
func usable(a netip.Addr) error {
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%v does not name one host: write the host's own address", a)
	}
	return nil
}

// listOf reads a list, each element by parse.
func listOf[T any](parse func(cty.Value) (T, error)) func(cty.Value) ([]T, error) {
	return func(v cty.Value) ([]T, error) {
		if !v.Type().IsTupleType() {
			return nil, fmt.Errorf("%s is not a list: write it in brackets, such as [%s]", showCty(v), showCty(v))
		}
		var list []T
		for _, element := range v.AsValueSlice() {
			if element.IsNull() {
				return nil, fmt.Errorf("null stands in the list: remove it")
			}
			parsed, err := parse(element)
			if err != nil {
				return nil, err
			}
			list = append(list, parsed)
		}
		return list, nil
	}
}

// showCty shows a value of the file, shortened where it is long.
func showCty(v cty.Value) string {
	switch {
	case v.Type() == cty.String:
		return shorten(strconv.Quote(v.AsString()))
	case v.Type() == cty.Number:
		return shorten(v.AsBigFloat().Text('g', 12))
	case v.Type() == cty.Bool:
		return strconv.FormatBool(v.True())
	case v.Type().IsTupleType():
		return "a list"
	}
	return "the value"
}

func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
