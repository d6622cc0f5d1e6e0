// Package qmp speaks QEMU's machine protocol: JSON lines on a unix socket.
//
// Guarantees: every call ends with its context, whether or not QEMU reads,
// answers or lives. Calls may overlap; answers are matched by id. An answer that
// comes after its call has given up is dropped. A message longer than
// MaxMessage, or one that is no QMP, ends the session with an error that shows
// its beginning. Events arrive in order and before any later answer.
//
// Non-guarantees: a command whose call gave up may still be carried out. There
// is no reconnecting; a session that ended stays ended.
//
// Duties: the event handler runs on the reading goroutine and must return
// promptly without calling into the session. Close every session.
package qmp
