package control

import "testing"

func TestUserName(t *testing.T) {
	for uid, want := range map[uint32]string{0: "root", 3999999999: "the user with id 3999999999"} {
		if got := UserName(uid); got != want {
			t.Errorf("%d: %q, want %q", uid, got, want)
		}
	}
}
