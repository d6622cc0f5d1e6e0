package agent

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
)

// A process is made for a machine that is moved here once after each announcement, and only such a
// one is received.
func TestIncomingGoesInOrder(t *testing.T) {
	var in incoming
	vm := uuid.New()
	if in.begin(vm, "") || in.made(vm, 7) != nil || in.process(vm) != 0 || in.expected(vm) {
		t.Error("nothing was announced")
	}
	in.announce(vm)
	if in.made(vm, 7) != nil {
		t.Error("nobody was asked whether a process may be made")
	}
	if in.begin(vm, "storebeat/1") {
		t.Error("what carries a marker does not come from another host")
	}
	if !in.begin(vm, "") || in.begin(vm, "") {
		t.Error("one process may be made")
	}
	o := in.made(vm, 7)
	if o == nil || in.made(vm, 8) != nil || in.process(vm) != 7 || !in.expected(vm) {
		t.Fatal("the first process waits, and no other")
	}
	in.announce(vm)
	if in.process(vm) != 7 {
		t.Error("another announcement took the place of what waits")
	}
	in.answer(core.IncomingAnswer{VM: vm, Ask: o.ask + 1, Allowed: true})
	in.answer(core.IncomingAnswer{VM: vm, Ask: o.ask, Why: "no"})
	in.answer(core.IncomingAnswer{VM: vm, Ask: o.ask, Allowed: true})
	if e := <-o.answer; e.Allowed || e.Why != "no" {
		t.Errorf("the first answer to this question was no, not %+v", e)
	}
	in.over(vm, o)
	if in.process(vm) != 0 || in.expected(vm) || in.begin(vm, "") {
		t.Error("it is over")
	}
	in.over(vm, &offer{})
}

// What was announced long ago allows nothing, and is forgotten.
func TestIncomingGrowsOld(t *testing.T) {
	var in incoming
	old, young := uuid.New(), uuid.New()
	in.announce(old)
	in.offers[old].since = time.Now().Add(-2 * offerTime)
	if in.begin(old, "") || in.expected(old) {
		t.Error("it was announced too long ago")
	}
	in.announce(young)
	if len(in.offers) != 1 {
		t.Errorf("%d are kept", len(in.offers))
	}
	if !in.begin(young, "") {
		t.Error("it was just announced")
	}
	in.offers[young].since = time.Now().Add(-2 * offerTime)
	if in.made(young, 7) != nil {
		t.Error("its process came too late")
	}
}
