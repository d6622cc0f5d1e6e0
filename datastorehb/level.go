package datastorehb

import "fmt"

// Levels are the feature levels that a program knows: it reads and writes each
// of them. A cluster writes one, which stands in its record; a program joins only
// if it knows that one.
type Levels struct {
	Lowest  uint16 `json:"lowest"`
	Highest uint16 `json:"highest"`
}

// KnownLevels are those of this program: its own and, once there is one, the
// level before.
func KnownLevels() Levels { return Levels{Lowest: max(1, FeatureLevel-1), Highest: FeatureLevel} }

// Know reports whether the level is one of them.
func (l Levels) Know(level uint16) bool { return l.Lowest <= level && level <= l.Highest }

// String returns "2", or "1 to 2".
func (l Levels) String() string {
	if l.Lowest == l.Highest {
		return fmt.Sprint(l.Highest)
	}
	return fmt.Sprintf("%d to %d", l.Lowest, l.Highest)
}

// wellFormed reports whether there is a level among them. None at all, zeros, is
// what a host says of which nothing is known.
func (l Levels) wellFormed() bool {
	return l == Levels{} || l.Lowest > 0 && l.Lowest <= l.Highest
}
