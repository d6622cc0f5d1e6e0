package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"storebeat/agent"
	"storebeat/agent/demo/cluster"
)

// TestMetricsWhileTheStorageHangs reads the metrics of a host whose datastores
// hang altogether, over the network and over its socket: both answer, and say so.
func TestMetricsWhileTheStorageHangs(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{Hosts: 1, Profile: "default"})
	l.protect(1, "process")
	h := l.Hosts[0]
	url := l.serveMetrics(h)
	l.await("the metrics to be served", func() (bool, string) {
		shown, err := fetch(l.ctx, url)
		return err == nil && strings.Contains(shown, "\nstorebeat_machines{state=\"running\"} 1\n"), fmt.Sprint("they are not: ", err)
	})
	for _, d := range l.Datastores {
		l.mount(h, d).Hang()
	}
	l.await("the metrics to show that the storage hangs", func() (bool, string) {
		shown, err := fetch(l.ctx, url)
		if err != nil {
			return false, err.Error()
		}
		for _, d := range l.Datastores {
			if valueOf(shown, `storebeat_heartbeat_write_pending_seconds{datastore="`+d.Name+`"}`) < 4 {
				return false, "no write on " + d.Name + " has been under way for that long"
			}
		}
		return valueOf(shown, `storebeat_machines{state="frozen"}`) == 1, "the machine is not shown as frozen"
	})
	l.await("the metrics to show a lapsed lease, and a loop that does not wait for the storage", func() (bool, string) {
		var shown string
		err := h.Client.Call(l.ctx, agent.MethodMetrics, nil, &shown)
		age, lapsed := valueOf(shown, "storebeat_state_age_seconds"), valueOf(shown, "storebeat_leases_lapsed_total{")
		return err == nil && age == 0 && lapsed > 0, fmt.Sprintf("the state is %v s old, %v leases have lapsed, %v", age, lapsed, err)
	})
}

// serveMetrics lets the host serve its metrics, while it runs, and returns where.
func (l *lab) serveMetrics(h *cluster.Host) (url string) {
	l.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	l.do(err)
	address := listener.Addr().String()
	l.do(listener.Close())
	config, err := os.ReadFile(h.Config)
	l.do(err)
	l.do(os.WriteFile(h.Config, fmt.Appendf(config, "\nmetrics {\n  address = %q\n}\n", address), 0o644))
	return "http://" + address + "/metrics"
}

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// valueOf sums the values of the series that begin like this; -1 if there is none.
func valueOf(shown, series string) float64 {
	sum, found := 0.0, false
	for _, line := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(series)+`.*$`).FindAllString(shown, -1) {
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err == nil {
			sum, found = sum+value, true
		}
	}
	if !found {
		return -1
	}
	return sum
}
