package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// packages is where built leaves its file; TestMain removes it.
var packages string

// built is the package of the working tree, made once for all tests.
var built = sync.OnceValues(func() (string, error) { return makePackage("1.2.3", "../..", packages) })

func TestMain(m *testing.M) {
	var err error
	if packages, err = os.MkdirTemp("", "sb-package-"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(packages)
	os.Exit(status)
}

// makePackage runs "make deb" on a source tree, as one version and one time.
func makePackage(version, source, folder string, env ...string) (string, error) {
	command := exec.Command("make", "--no-print-directory", "deb", "VERSION="+version, "DIST="+folder)
	command.Dir = source
	command.Env = append(append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "SOURCE_DATE_EPOCH=1700000000"), env...)
	if out, err := command.CombinedOutput(); err != nil {
		return "", &buildError{err, out}
	}
	found, err := filepath.Glob(filepath.Join(folder, "storebeat_"+version+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", &buildError{err, []byte("make deb left " + strings.Join(found, " "))}
	}
	return found[0], nil
}

type buildError struct {
	err error
	out []byte
}

func (e *buildError) Error() string { return "make deb: " + e.err.Error() + "\n" + string(e.out) }

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// TestOneSourceMakesOnePackage builds it a second time: in another folder, from
// files of other times, for a user with other habits.
func TestOneSourceMakesOnePackage(t *testing.T) {
	t.Parallel()
	needs(t, "make", "dpkg-deb")
	first, err := built()
	if err != nil {
		t.Fatal(err)
	}
	second, err := makePackage("1.2.3", copyOfSource(t), t.TempDir(), "TZ=Asia/Kathmandu", "LC_ALL=C", "LANG=de_DE.UTF-8")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"usr/bin/storebeat", "DEBIAN/md5sums"} {
		if !bytes.Equal(extract(t, first, file), extract(t, second, file)) {
			t.Errorf("two builds of one source differ in %s", file)
		}
	}
	a, errA := os.ReadFile(first)
	b, errB := os.ReadFile(second)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("two packages of one source differ: %v, %v", errA, errB)
	}
	program := extract(t, first, "usr/bin/storebeat")
	if folder, err := filepath.Abs("../.."); err != nil || bytes.Contains(program, []byte(folder)) {
		t.Errorf("the program names the folder %s in which it was built (%v)", folder, err)
	}
	if bytes.Contains(program, []byte("/ld-linux")) {
		t.Error("the program is not static: it names a dynamic linker")
	}
}

// copyOfSource copies what git knows or would take, as it stands now.
func copyOfSource(t *testing.T) string {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = "../.."
	files, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	folder := filepath.Join(t.TempDir(), "elsewhere")
	for file := range strings.SplitSeq(strings.Trim(string(files), "\x00"), "\x00") {
		source := filepath.Join("../..", file)
		info, err := os.Lstat(source)
		if os.IsNotExist(err) {
			continue // removed, and not yet so in git
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(folder, file)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, content, info.Mode().Perm()&0o700); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// extract returns one file of a package.
func extract(t *testing.T, deb, file string) []byte {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--raw-extract", deb, folder).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
