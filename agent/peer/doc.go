// Package peer carries messages between agents: HTTP/1.1 over TLS 1.3, with
// certificates on both sides that are derived from the one cluster key.
//
// Guarantees: a message is handed over only if it came from a process that has
// the cluster key and was made for this cluster, under the host id that the
// sender's certificate names; a client talks only to the host id it asked for.
// The wall clock of neither side matters. A peer that hangs holds up nobody
// else, and nobody longer than their deadline. Connections stay open, so that a
// message in a failover costs one round trip and no handshake.
//
// Non-guarantees: whoever has the cluster key can speak as any host. An error
// from Send may mean that the message was handled and the reply got lost, so
// every message must bear repetition. Messages are not ordered.
//
// A host that has no key yet may ask to join, with a Token that a member made: the
// token holds the authority's public key, by which the host knows the member, and a
// proof, by which any member knows the token. It gets nowhere else without a certificate.
//
// Duties: the handler heeds its context; the caller keeps warm the connections
// it will need in a failover (KeepWarm).
package peer
