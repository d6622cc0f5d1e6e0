// Package control is how a process on the same host talks to the agent: HTTP
// with JSON over a unix socket.
//
// Guarantees: at most one agent serves a socket; a socket file that a dead agent
// left behind is replaced, a live one is refused. Every error that a client gets
// is an *Error with a code, a message and, where there is one, a remedy. A
// stream that ends early is an error and never looks complete.
//
// Non-guarantees: who may open the socket may do everything. Its mode is 0660:
// access is given by the owner and group of the socket's directory.
//
// Duties: the functions behind Handle and HandleStream heed their context.
package control
