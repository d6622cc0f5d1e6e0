package nfslab

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestArchive has busybox unpack what the kernel will.
func TestArchive(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed: ", err)
	}
	var a archive
	a.directories("etc", "etc/deep")
	a.add("etc/deep/odd", 0o640, regular, []byte("five!"))
	a.add("etc/link", 0o777, symlink, []byte("deep/odd"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "archive"), a.end(), 0o644); err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command(busybox, "cpio", "-i", "-F", "archive")
	unpack.Dir = dir
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "etc/link"))
	if err != nil || string(text) != "five!" {
		t.Errorf("it holds %q: %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "etc/deep/odd")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestKernel finds modules with what they need, in order, and refuses what is no kernel.
func TestKernel(t *testing.T) {
	dir := t.TempDir()
	const list = "kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	k := kernel{image: filepath.Join(dir, "modules.dep"), modules: dir}
	files, err := k.needs("b", "a")
	if want := []string{"kernel/c.ko", "kernel/b.ko", "kernel/a.ko"}; err != nil || !slices.Equal(files, want) {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := k.needs("d"); err == nil {
		t.Error("it finds a module that is not there")
	}
	if err := k.extract(filepath.Join(dir, "vmlinux")); err == nil {
		t.Error("it takes a text for a kernel")
	}
}
