package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// chunk is how many schedules one run of the simulator's tests goes through.
const chunk = 50

// Found is the first schedule in which the observer objects.
type Found struct {
	Seed      int
	Invariant string
	Violation string
}

// objection is how TestRandomSchedules reports a schedule.
var objection = regexp.MustCompile(`^\s*chaos_test\.go:\d+: seed (\d+): +(.*)$`)

// invariantForm is a violation's beginning: the instant, if there is one, and the name.
var invariantForm = regexp.MustCompile(`^(?:\d+\.\d+ )?([A-Za-z]+\d*): `)

// search runs random schedules from seed 1 on until the observer objects. It
// returns nil if it never does.
func (t tree) search(ctx context.Context, seeds int, progress func(string)) (*Found, error) {
	for first := 1; first <= seeds; first += chunk {
		f, err := t.schedules(ctx, first, min(chunk, seeds-first+1))
		if f != nil || err != nil {
			return f, err
		}
		progress(fmt.Sprintf("nothing found by seed %d", first+min(chunk, seeds-first+1)-1))
	}
	return nil, nil
}

// schedules runs a chunk of schedules up to the first in which the observer objects.
func (t tree) schedules(ctx context.Context, first, count int) (*Found, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := t.test(ctx, "^TestRandomSchedules$")
	// One processor, so that schedules end in the order of their seeds.
	c.Env = append(os.Environ(), "GOMAXPROCS=1", fmt.Sprintf("STOREBEAT_SIM_SEEDS=%d+%d", first, count))
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("running schedules: %w", err)
	}
	found, tail := firstObjection(out)
	if found != nil {
		stop() // The rest of the schedules doesn't matter.
		_ = c.Wait()
		return found, nil
	}
	if err := c.Wait(); err != nil {
		return ended(ctx, first, err, tail)
	}
	return nil, nil
}

// ended judges a run that has failed without an objection: a mutant that makes the
// product panic is found as well, by nobody less than the product.
func ended(ctx context.Context, first int, err error, tail string) (*Found, error) {
	at := strings.Index(tail, "panic: ")
	if at < 0 || ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("schedules from seed %d: %w\n%s", first, err, tail))
	}
	line, _, _ := strings.Cut(tail[at:], "\n")
	return &Found{first, "panic", line}, nil
}

// firstObjection reads the output of the tests up to the observer's first
// objection. Without one it returns the end of the output.
func firstObjection(out io.Reader) (*Found, string) {
	var tail []string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if match := objection.FindStringSubmatch(lines.Text()); match != nil {
			seed, _ := strconv.Atoi(match[1])
			return &Found{seed, invariantOf(match[2]), match[2]}, ""
		}
		if tail = append(tail, lines.Text()); len(tail) > 100 {
			tail = tail[1:]
		}
	}
	return nil, strings.Join(tail, "\n")
}

// invariantOf returns the name with which a violation begins. What has none
// says that the cluster did not come to rest, or did not stay there.
func invariantOf(violation string) string {
	if match := invariantForm.FindStringSubmatch(violation); match != nil {
		return match[1]
	}
	return "rest"
}

// passes reports whether a directed test passes. One that does not exist is an error.
func (t tree) passes(ctx context.Context, pattern string) (bool, error) {
	levels := strings.Split(pattern, "/")
	out, err := t.test(ctx, "^"+strings.Join(levels, "$/^")+"$").CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case !strings.Contains(string(out), "=== RUN   "+pattern+"\n"):
		return false, fmt.Errorf("there is no test %s in %s", pattern, simulator)
	}
	return err == nil, nil
}

// test is a run of the simulator's tests in the folder where they belong.
func (t tree) test(ctx context.Context, pattern string) *exec.Cmd {
	c := exec.CommandContext(ctx, t.binary(), "-test.v", "-test.timeout=0", "-test.run", pattern)
	c.Dir = t.folder + "/test/sim"
	return c
}
