// Package demo runs a whole cluster on one machine, kills one of its hosts, and
// shows what happens: real agents with real guards on loopback addresses, real
// files, and QEMU guests where QEMU is there.
//
// Guarantees: the verdict of a run rests on what the guests themselves wrote to
// their consoles, read from outside the product. Whatever was started is ended
// with the demo, unless the demo is told to keep it.
//
// Non-guarantees: local directories say nothing about anybody's shared storage,
// and all "hosts" share one kernel.
package demo
