package nfslab

import (
	_ "embed" // the first process
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed inside/init
var firstProcess []byte

// modules are what a host loads beyond what its kernel has built in.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "nfsv4", "nfsv3", "softdog", "nf_tables"}

// watchdogMargin is after how many seconds the software watchdog resets a host,
// unless somebody sets it otherwise; that of the module is a minute.
const watchdogMargin = "soft_margin=60"

// makeImages makes what every host boots: kernel, first file system, and the disk
// with QEMU for the machines.
func makeImages(dir, binary string) error {
	k, err := findKernel()
	if err != nil {
		return err
	}
	inside := filepath.Join(dir, "inside")
	build := exec.Command("go", "build", "-o", inside, "storebeat/test/nfslab/inside")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build what runs inside: %w: %s", err, out)
	}
	return errors.Join(k.extract(filepath.Join(dir, "vmlinux")), k.firstFiles(filepath.Join(dir, "initrd"), inside, binary), qemuDisk(dir))
}

// firstFiles makes the file system that a host begins with, and stays in.
func (k kernel) firstFiles(to, inside, binary string) error {
	var a archive
	a.directories("bin", "dev", "proc", "sys", "run", "tmp", "etc", "usr", "usr/local", "usr/local/bin", "var", "modules")
	a.add("init", 0o755, regular, firstProcess)
	a.add("bin/sh", 0o777, symlink, []byte("busybox"))
	a.add("modules/softdog.ko.options", 0o644, regular, []byte(watchdogMargin))
	err := errors.Join(a.file("bin/busybox", "/bin/busybox"), a.file("bin/inside", inside), a.file("usr/local/bin/storebeat", binary))
	files, needsErr := k.needs(modules...)
	var order strings.Builder
	for _, f := range files {
		fmt.Fprintln(&order, filepath.Base(f))
		err = errors.Join(err, a.file("modules/"+filepath.Base(f), filepath.Join(k.modules, f)))
	}
	a.add("modules/order", 0o644, regular, []byte(order.String()))
	if err := errors.Join(err, needsErr); err != nil {
		return err
	}
	return os.WriteFile(to, a.end(), 0o644)
}

const qemu = "/usr/bin/qemu-system-x86_64"

// qemuFiles are what QEMU opens by itself.
var qemuFiles = []string{"/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so", "/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin",
	"/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/linuxboot_dma.bin"}

// tools are what the scripts for operators need beyond busybox.
var tools = []string{"/usr/bin/bash", "/usr/bin/jq", "/usr/sbin/nft", "/usr/bin/realpath", "/usr/bin/flock", "/usr/bin/setsid", "/usr/bin/install"}

// FaultScripts is where the scripts for operators are on a host.
const FaultScripts = "/usr/share/storebeat/fault"

// qemuDisk makes a disk with QEMU, tools, and all that they need, where they expect it.
func qemuDisk(dir string) error {
	tree := filepath.Join(dir, "tree")
	defer os.RemoveAll(tree)
	files := append([]string{qemu}, qemuFiles...)
	for _, program := range append([]string{qemu}, tools...) {
		needed, err := libraries(program)
		if err != nil {
			return err
		}
		files = slices.Concat(files, []string{program}, needed)
	}
	for _, f := range files {
		to := f
		if !strings.HasPrefix(f, "/usr/") {
			to = "/usr" + f // /lib is /usr/lib
		}
		if err := copyFile(filepath.Join(tree, to), f); err != nil {
			return err
		}
	}
	if err := copyScripts(filepath.Join(tree, FaultScripts)); err != nil {
		return err
	}
	disk := filepath.Join(dir, "qemu.img")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk, "160M").CombinedOutput(); err != nil {
		return fmt.Errorf("make the disk with QEMU: %w: %s", err, out)
	}
	return nil
}

// libraries lists what a program is linked with.
func libraries(program string) (files []string, err error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("what %s needs: %w", program, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	return files, nil
}

// copyScripts copies the scripts for operators from the module, as the package has them.
func copyScripts(to string) error {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("where the scripts are: %w", err)
	}
	from := filepath.Join(strings.TrimSpace(string(module)), "scripts", "fault")
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, copyFile(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())))
	}
	return err
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}
