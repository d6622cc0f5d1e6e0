package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"storebeat/agent"
)

func newMetrics(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print this host's metrics, as Prometheus would read them",
		Long: `Prints the metrics of this host's agent in Prometheus's text format, whether or not the
configuration lets Prometheus read them itself (metrics.address). docs/metrics.md says
what each means.`,
		Example: `  storebeat metrics | grep storebeat_lease
  storebeat metrics > /var/lib/node_exporter/storebeat.prom`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.metrics(cmd.Context()) },
	}
}

func (a *app) metrics(ctx context.Context) error {
	var text string
	if err := a.call(ctx, agent.MethodMetrics, nil, &text); err != nil {
		return err
	}
	return a.print(text, func() error {
		_, err := io.WriteString(a.out, text)
		return err
	})
}
