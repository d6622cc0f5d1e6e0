package main

import (
	"bytes"
	"testing"

	"storebeat/poweron"
)

// Where a machine could run stands in one line, and why not in one line for each host.
func TestPlacesShown(t *testing.T) {
	for _, tt := range []struct {
		places []poweron.Place
		want   string
	}{
		{[]poweron.Place{{Name: "alpha", Here: true}, {Name: "beta"}, {Name: "gamma", Unknown: true},
			{Name: "delta", Refusal: "has no network bridge br0"}, {Name: "epsilon", Refusal: "is dead", Unknown: true}},
			"Could run on  beta, gamma (it has not said what it has)\nNot on        delta has no network bridge br0\n              epsilon is dead\n"},
		{[]poweron.Place{{Name: "alpha", Here: true}, {Name: "beta", Refusal: "is in maintenance"}},
			"Could run on  no other host\nNot on        beta is in maintenance\n"},
		{[]poweron.Place{{Name: "alpha", Refusal: "is dead"}}, "Could run on  no host\nNot on        alpha is dead\n"},
	} {
		var out bytes.Buffer
		p := (&app{out: &out}).pairs()
		p.places(tt.places)
		if err := p.flush(); err != nil || out.String() != tt.want {
			t.Errorf("%v: shown as\n%s\nwant\n%s", err, out.String(), tt.want)
		}
	}
}
