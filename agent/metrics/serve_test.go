package metrics_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"storebeat/agent/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is no measurement.
const patience = 30 * time.Second

// free returns an address of this computer that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serving runs Serve until the test ends.
func serving(t *testing.T, gatherer prometheus.Gatherer, log io.Writer) chan<- string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	addresses := make(chan string, 1)
	var done sync.WaitGroup
	done.Go(func() {
		metrics.Serve(ctx, gatherer, addresses, hclog.New(&hclog.LoggerOptions{Output: log}))
	})
	t.Cleanup(func() { cancel(); done.Wait(); http.DefaultClient.CloseIdleConnections() })
	return addresses
}

func scrape(t *testing.T, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.Status + "\n" + string(body), err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

func TestServe(t *testing.T) {
	_, registry := instruments(t, constant(full()))
	var log safeBuffer
	addresses := serving(t, registry, &log)
	first, second := free(t), free(t)
	reaches := func(address string) func() bool {
		return func() bool {
			body, err := scrape(t, "http://"+address+"/metrics")
			return err == nil && strings.HasPrefix(body, "200 ") && strings.Contains(body, "\nstorebeat_master 1\n")
		}
	}
	addresses <- first
	eventually(t, "the first address", reaches(first))
	if body, err := scrape(t, "http://"+first+"/"); err != nil || !strings.Contains(body, "/metrics") {
		t.Errorf("the root says %q, %v", body, err)
	}
	if body, _ := scrape(t, "http://"+first+"/debug/pprof/"); !strings.HasPrefix(body, "404") {
		t.Errorf("more than metrics is served: %q", body)
	}
	addresses <- second
	eventually(t, "the second address", reaches(second))
	eventually(t, "the end of the first", func() bool { _, err := scrape(t, "http://"+first+"/metrics"); return err != nil })
	addresses <- ""
	eventually(t, "the end of the second", func() bool { _, err := scrape(t, "http://"+second+"/metrics"); return err != nil })
}

// An address that somebody else has is complained of once, and another can be set.
func TestAnAddressThatIsTaken(t *testing.T) {
	_, registry := instruments(t, constant(full()))
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var log safeBuffer
	addresses := serving(t, registry, &log)
	addresses <- other.Addr().String()
	eventually(t, "the complaint", func() bool { return strings.Contains(log.String(), "metrics can't be served") })
	next := free(t)
	addresses <- next
	eventually(t, "another address", func() bool { _, err := scrape(t, "http://"+next+"/metrics"); return err == nil })
}

// safeBuffer takes a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
