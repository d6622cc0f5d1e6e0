package control

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"time"

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

// lookUpTime is how long the host may take to tell a user's name: it may ask others for it.
const lookUpTime = time.Second

// UserName returns the name of a user of this host, or "the user with id N" where the
// host has none, or does not tell in time.
func UserName(uid uint32) string {
	found := make(chan string, 1)
	go func() {
		if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
			found <- u.Username
		}
		close(found)
	}()
	select {
	case name := <-found:
		if name != "" {
			return name
		}
	case <-time.After(lookUpTime):
	}
	return fmt.Sprintf("the user with id %d", uid)
}

// User returns the id of the user who made the request, if the kernel could tell.
func User(ctx context.Context) (uid uint32, ok bool) {
	uid, ok = ctx.Value(userKey{}).(uint32)
	return uid, ok
}
