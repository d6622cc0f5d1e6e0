package datastorehb

import "fmt"

// Levels are the feature levels that a program can write. A cluster writes one,
// which stands in its record; a program takes part only if it can write that one.
// It reads every level up to the highest.
//
// FeatureLevel, the highest, is the one place that decides: packages that encode
// get the level to write from whoever writes, which is the core, and refuse what
// lies above FeatureLevel.
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

// CheckLevel refuses a level that this program does not know.
func CheckLevel(level uint16) error {
	if level == 0 || level > FeatureLevel {
		return fmt.Errorf("feature level %d, and this program knows 1 to %d", level, FeatureLevel)
	}
	return nil
}
