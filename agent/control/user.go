package control

import (
	"context"
	"net"

	"golang.org/x/sys/unix"
)

// userKey is the key of the user's id in the context of a request.
type userKey struct{}

// withUser notes who is at the other end of a connection. The kernel vouches for it.
func withUser(ctx context.Context, conn net.Conn) context.Context {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, userKey{}, cred.Uid)
}

// User returns the id of the user who made the request, if the kernel could tell.
func User(ctx context.Context) (uid uint32, ok bool) {
	uid, ok = ctx.Value(userKey{}).(uint32)
	return uid, ok
}
