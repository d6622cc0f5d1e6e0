package bootsector

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestImageIsTheAssembledSource(t *testing.T) {
	if len(image) != sector || image[510] != 0x55 || image[511] != 0xaa {
		t.Fatalf("image of %d bytes is no boot sector", len(image))
	}
	nasm, err := exec.LookPath("nasm")
	if err != nil {
		t.Skip("nasm is not installed: ", err)
	}
	out := filepath.Join(t.TempDir(), "tick.img")
	if text, err := exec.CommandContext(t.Context(), nasm, "-f", "bin", "-o", out, "tick.asm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	assembled, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(assembled, image) {
		t.Error("tick.img is not what tick.asm assembles to; run go generate")
	}
}

func TestWriteDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := WriteDisk(path); err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(disk) != DiskSize || !bytes.Equal(disk[:sector], image) || disk[sector] != 'D' {
		t.Errorf("disk of %d bytes with flag %q", len(disk), disk[sector])
	}
	if n, err := Count(path); err != nil || n != 0 {
		t.Errorf("a new disk counts %d, %v", n, err)
	}
	if err := WriteDisk(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a disk was overwritten: %v", err)
	}
}

func TestReadMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := WriteDisk(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const count = 5
	if _, err := f.WriteAt([]byte{count, 0, 0, 0, 2}, (firstMark+count)*sector); err != nil {
		t.Fatal(err)
	}
	marks, err := ReadMarks(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, mark := range marks {
		want := Mark{}
		if i == count {
			want = Mark{Boot: 2, Count: count}
		}
		if mark != want {
			t.Errorf("mark %d is %+v", i, mark)
		}
	}
}
