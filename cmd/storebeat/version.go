package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"storebeat/datastorehb"
)

// version is set by "make build" to what scripts/version says.
var version = ""

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]any{"version": programVersion(), "go": runtime.Version(), "format": datastorehb.FormatVersion, "level": datastorehb.FeatureLevel}
			return a.print(v, func() error {
				_, err := io.WriteString(a.out, versionLine())
				return err
			})
		},
	}
}

// versionLine is what "storebeat version" and "storebeat --version" print.
func versionLine() string {
	return fmt.Sprintf("storebeat %s (%s; datastore format %d, feature level %d)\n", programVersion(), runtime.Version(), datastorehb.FormatVersion, datastorehb.FeatureLevel)
}

// programVersion falls back to what the build recorded about the source.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return "devel-" + revision + dirty
}
