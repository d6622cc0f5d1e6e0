package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is the directory of a control group, v2, as it is seen from outside of
// all hosts.
type cgroup string

func (c cgroup) make() error { return os.MkdirAll(string(c), 0o755) }

func (c cgroup) write(file, value string) error {
	return os.WriteFile(filepath.Join(string(c), file), []byte(value), 0)
}

// kill kills every process of the cgroup and those below it, frozen ones included.
func (c cgroup) kill() error { return c.write("cgroup.kill", "1") }

// freeze stops or resumes every process. A process that waits for storage stops
// when its call returns.
func (c cgroup) freeze(stop bool) error {
	value := "0"
	if stop {
		value = "1"
	}
	return c.write("cgroup.freeze", value)
}

// is reports what cgroup.events says, such as "frozen" or "populated".
func (c cgroup) is(what string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(string(c), "cgroup.events"))
	return strings.Contains("\n"+string(text), "\n"+what+" 1\n"), err
}

// pids lists the processes of the cgroup and of those below it.
func (c cgroup) pids() (pids []int, err error) {
	err = filepath.WalkDir(string(c), func(path string, entry fs.DirEntry, err error) error {
		if gone(err) || err == nil && !entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if gone(err) {
			return nil
		}
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// end kills everything, waits until it is gone and removes the cgroup and those below it.
func (c cgroup) end() error {
	if _, err := os.Stat(string(c)); gone(err) {
		return nil
	}
	deadline := time.Now().Add(patience)
	for {
		if err := c.kill(); err != nil {
			return fmt.Errorf("kill all in %s: %w", c, err)
		}
		lives, err := c.is("populated")
		if err != nil {
			return err
		}
		if !lives {
			return c.remove()
		}
		if time.Now().After(deadline) {
			pids, _ := c.pids()
			return fmt.Errorf("processes %v of %s do not end", pids, c)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c cgroup) remove() error {
	var dirs []string
	err := filepath.WalkDir(string(c), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		err = errors.Join(err, os.Remove(dirs[i]))
	}
	return err
}
