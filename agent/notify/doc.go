// Package notify runs a command for each event that somebody wants to be told
// of, with the event as JSON on its standard input and in its environment.
//
// Guarantees: Event never waits, whatever a command does. One command runs at a
// time for each rule, in the order of the events, and none for longer than its
// rule allows: then its whole process group is killed. A flood is held back to
// the rule's rate, and one summary says what was held back. What can't be told
// is counted and logged.
//
// A shared event (core.About), which several hosts may record for one incident,
// is told by the master alone. One that arises while there is no master, or that
// is about the master itself, is kept until it is clear who is master: then the
// new master tells it, and the others let it go. If nobody becomes master within
// Undecided, each host tells it: twice is better than never.
//
// Non-guarantees: a notification is lost when the agent ends before its command
// has run, and is not tried again when the command fails. The journal is the
// record; notifications are not.
package notify
