package poweron

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBreaches(t *testing.T) {
	hosts := []Host{{ID: 1, Name: "alpha"}, {ID: 2, Name: "beta"}}
	there := []Resident{
		resident(1, 1, apart("web"), "web"), resident(2, 1, apart("web"), "web"), resident(3, 2, apart("web"), "web"),
		resident(4, 1, joined("m5")), resident(5, 2, Rules{}), resident(6, 1, joined("m5")),
		resident(7, 9, only(1, 2)), resident(8, 2, only(2)), resident(9, 0, Rules{}, "web"), resident(10, 1, preferring(Affinity{Apart: []string{"web"}})),
	}
	want := []Breach{
		{6, "m7 is on a host that the cluster does not have, which is none of the hosts that it must run on"},
		{0, "m1 and m2 are both on alpha, and must be apart"},
		{4, "m5 is on beta and m4 on alpha, and the two must be together"},
	}
	if d := cmp.Diff(want, Breaches(there, hosts)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
