package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

const (
	// retryListen is how long to wait before an address that can't be had is tried again.
	retryListen = 10 * time.Second
	// atOnce is how many scrapes are answered at a time.
	atOnce = 4
	// slowClient is how long a client may take for a request or its answer.
	slowClient = 10 * time.Second
)

// Text returns what a scrape would, in Prometheus's text format.
func Text(gatherer prometheus.Gatherer) (string, error) {
	families, err := gatherer.Gather()
	var b bytes.Buffer
	encoder := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		err = errors.Join(err, encoder.Encode(f))
	}
	return b.String(), err
}

// Serve answers scrapes at GET /metrics on each address that comes in, in place
// of the one before, until ctx is done. "" serves nowhere. An address that can't
// be had is logged and tried again: an agent must not fail for want of metrics.
func Serve(ctx context.Context, gatherer prometheus.Gatherer, addresses <-chan string, log hclog.Logger) {
	s := &server{handler: handler(gatherer), log: log}
	defer s.stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case address := <-addresses:
			if address == s.address {
				continue
			}
			s.stop()
			s.address, s.complained = address, false
			retry.Reset(0)
		case <-retry.C:
			if !s.start() {
				retry.Reset(retryListen)
			}
		}
	}
}

type server struct {
	handler    http.Handler
	log        hclog.Logger
	address    string
	http       *http.Server
	complained bool
}

// start listens on the address; false means that it has to be tried again.
func (s *server) start() bool {
	if s.address == "" || s.http != nil {
		return true
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		if !s.complained {
			s.log.Error("metrics can't be served; it is tried again until it succeeds", "error", err)
		}
		s.complained = true
		return false
	}
	s.http = &http.Server{Handler: s.handler, ReadHeaderTimeout: slowClient, ReadTimeout: slowClient, WriteTimeout: slowClient, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	s.log.Info("metrics are served", "at", fmt.Sprintf("http://%s/metrics", listener.Addr()))
	go func(h *http.Server) { _ = h.Serve(listener) }(s.http)
	return true
}

func (s *server) stop() {
	if s.http != nil {
		_ = s.http.Close()
		s.http = nil
	}
}

func handler(gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce, Timeout: slowClient / 2, ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "Storebeat. Metrics are at /metrics.\n")
	})
	return mux
}
