package main

import "testing"

func TestSplitPeer(t *testing.T) {
	for peer, want := range map[string][2]string{
		"beta":                   {"beta", "/usual"},
		"beta:/srv/nfs1":         {"beta", "/srv/nfs1"},
		"admin@beta":             {"admin@beta", "/usual"},
		"admin@beta:/a b:c":      {"admin@beta", "/a b:c"},
		"beta:/mail/me@home":     {"beta", "/mail/me@home"},
		"192.0.2.7:/srv":         {"192.0.2.7", "/srv"},
		"2001:db8::7":            {"2001:db8::7", "/usual"},
		"admin@fe80::7%eth0":     {"admin@fe80::7%eth0", "/usual"},
		"[2001:db8::7]":          {"2001:db8::7", "/usual"},
		"[2001:db8::7]:/srv":     {"2001:db8::7", "/srv"},
		"admin@[fe80::7%eth0]:x": {"admin@fe80::7%eth0", "x"},
	} {
		host, path, ok := splitPeer(peer, "/usual")
		if !ok || host != want[0] || path != want[1] {
			t.Errorf("%q: host %q, path %q, %t; want %q", peer, host, path, ok, want)
		}
	}
	for _, peer := range []string{"", ":/srv", "beta:", "-oProxyCommand=x", "-l@beta", "@beta", "admin@", "[beta]:/srv", "[::1", "[::1]x", "[::1]:", "[]:/srv"} {
		if host, path, ok := splitPeer(peer, "/usual"); ok {
			t.Errorf("%q: host %q, path %q", peer, host, path)
		}
	}
}
