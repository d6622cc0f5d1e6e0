package nfslab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is an installed or unpacked kernel of Debian's for clouds.
type kernel struct{ image, modules string }

// findKernel looks where packages are installed, and where
// scripts/install-dependencies unpacks the kernel on computers that boot another.
func findKernel() (kernel, error) {
	var images []string
	for _, root := range []string{"/", unpacked} {
		found, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*-cloud-amd64"))
		images = append(images, found...)
	}
	for _, image := range slices.Backward(images) {
		version := strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
		k := kernel{image, filepath.Join(filepath.Dir(filepath.Dir(image)), "lib/modules", version)}
		if _, err := os.Stat(k.modules); err == nil {
			return k, nil
		}
	}
	return kernel{}, fmt.Errorf("a lab with NFS needs Debian's linux-image-cloud-amd64, which is neither installed nor unpacked below %s: run scripts/install-dependencies", unpacked)
}

// unpacked is where scripts/install-dependencies unpacks the kernel.
const unpacked = "/var/cache/storebeat/kernel"

// extract writes the kernel as a plain program, which boots faster than the
// compressed one.
func (k kernel) extract(to string) error {
	image, err := os.ReadFile(k.image)
	if err != nil {
		return err
	}
	if len(image) < 0x250 {
		return fmt.Errorf("%s is no kernel", k.image)
	}
	// The header of linux/Documentation/arch/x86/boot.rst: setup_sects,
	// payload_offset and payload_length.
	setup := int(image[0x1f1])
	if setup == 0 {
		setup = 4
	}
	begin := (setup+1)*512 + int(binary.LittleEndian.Uint32(image[0x248:]))
	length := int(binary.LittleEndian.Uint32(image[0x24c:]))
	if begin < 0 || length < 4 || begin+length > len(image) {
		return fmt.Errorf("%s has no payload that can be taken out", k.image)
	}
	// The last four bytes are the length, which lz4 takes for garbage.
	unpack := exec.Command("lz4", "-dc")
	unpack.Stdin = bytes.NewReader(image[begin : begin+length-4])
	var complaint strings.Builder
	unpack.Stderr = &complaint
	plain, err := unpack.Output()
	if len(plain) < 1<<20 || !bytes.HasPrefix(plain, []byte("\x7fELF")) {
		return fmt.Errorf("unpack %s: %w: %s", k.image, errors.Join(err, errors.New("what comes out is no program")), complaint.String())
	}
	return os.WriteFile(to, plain, 0o644)
}

// needs lists the files of modules with all that they need, in the order in which
// they are loaded.
func (k kernel) needs(modules ...string) (files []string, err error) {
	text, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if errors.Is(err, os.ErrNotExist) {
		text, err = k.dependencies()
	}
	if err != nil {
		return nil, err
	}
	needed := map[string][]string{} // by name, what a module needs, itself last
	for line := range strings.Lines(string(text)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		list := append([]string{file}, strings.Fields(rest)...)
		slices.Reverse(list)
		needed[strings.TrimSuffix(filepath.Base(file), ".ko")] = list
	}
	for _, m := range modules {
		if needed[m] == nil {
			return nil, fmt.Errorf("%s has no module %s", k.modules, m)
		}
		for _, file := range needed[m] {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

// dependencies makes what an installation would have made.
func (k kernel) dependencies() ([]byte, error) {
	root, version := filepath.Dir(filepath.Dir(filepath.Dir(k.modules))), filepath.Base(k.modules)
	return exec.Command("depmod", "--dry-run", "--basedir", root, version).Output()
}
