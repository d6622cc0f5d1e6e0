package stuck

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"storebeat/test/faultfs"
)

// envRole tells the test's binary which part to play, and with what.
const envRole = "STOREBEAT_TEST_STUCK"

// file is what the processes map.
const file = "file"

// Main returns at once in an ordinary test run. In a process of this package it
// plays its part and exits.
func Main() {
	words := strings.Split(os.Getenv(envRole), "\n")
	roles := map[string]func(args []string) error{"serve": serve, "read": read, "map": mapFile}
	role := roles[words[0]]
	if role == nil {
		return
	}
	if err := role(words[1:]); err != nil {
		fmt.Fprintln(os.Stderr, words[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve serves the file system until its input ends.
func serve(args []string) error {
	m, err := faultfs.New(args[1], args[0])
	if err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	for words := bufio.NewScanner(os.Stdin); words.Scan(); {
		if words.Text() == "hang" {
			m.Hang()
		}
		fmt.Println(m.Hung())
	}
	m.Heal()
	return m.Close()
}

// read maps the file, and when told waits for a page of it, which stays locked
// as long as storage does not answer.
func read(args []string) error {
	f, err := os.Open(filepath.Join(args[0], file))
	if err != nil {
		return err
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	if err := awaitWord(); err != nil {
		return err
	}
	fmt.Println(page[0])
	return nil
}

// mapFile opens the file, and when told maps it: the kernel waits for the locked
// page, and holds the lock of this process's memory.
func mapFile(args []string) error {
	f, err := os.Open(filepath.Join(args[0], file))
	if err != nil {
		return err
	}
	if err := awaitWord(); err != nil {
		return err
	}
	_, err = syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_PRIVATE)
	return err
}

func awaitWord() error {
	fmt.Println(os.Getpid())
	if !bufio.NewScanner(os.Stdin).Scan() {
		return errors.New("nobody is there any more")
	}
	return nil
}
