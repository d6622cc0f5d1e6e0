// Command devdemo is a scratch program.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/demo"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor/ticker"
	"storebeat/agent/journal"
)

func arg(name string) string {
	for i, a := range os.Args {
		if a == name {
			return os.Args[i+1]
		}
	}
	return ""
}

func main() {
	ctx := context.Background()
	switch os.Args[1] {
	case "agent":
		cfg, d := config.Load(arg("--config"))
		if cfg == nil {
			fmt.Println(config.Describe(d))
			os.Exit(1)
		}
		self, err := cfg.FindSelf("", "")
		if err == nil {
			err = agent.Run(ctx, cfg, self, hclog.New(&hclog.LoggerOptions{Level: hclog.Debug}))
		}
		fmt.Println(err)
	case "guard":
		f, _ := time.ParseDuration(arg("--freeze"))
		fmt.Println(guard.Serve(ctx, guard.Options{Socket: arg("--socket"), Freeze: f}))
	case "ticker":
		os.Exit(ticker.Main(os.Args[2:]))
	case journal.StoreCommand:
		journal.StoreMain(os.Args[2], os.Stdin, os.Stdout)
	case "demo":
		o := demo.Options{Hosts: 3, Datastores: 2, VMs: 6, Profile: "default", Fault: demo.OneHost, Runs: 1}
		if p := arg("--profile"); p != "" {
			o.Profile = p
		}
		if p := arg("--driver"); p != "" {
			o.Driver = p
		}
		if p := arg("--fault"); p != "" {
			o.Fault = demo.Fault(p)
		}
		fmt.Println(demo.Run(ctx, o, os.Stdout))
	}
}
