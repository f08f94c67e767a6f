package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

func newPluginCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "plugin", Short: "Write, build, try, sign, share and list connectors"}
	cmd.AddCommand(newPluginNew(), newPluginBuild(), newPluginInspect(), newPluginCall(), newPluginTest(), newPluginList(), newPluginKeygen(), newPluginSign(), newPluginVerify(),
		newPluginPush(), newPluginPull())
	cmd.AddCommand(s.add(newPluginUpload(s), newPluginStatus(s), newPluginVersions(s), newPluginRollback(s), newPluginRelease(s), newPluginGrant(s))...)
	return cmd
}

// withSandbox runs do with a sandbox that lives as long as the command.
func withSandbox(ctx context.Context, do func(*sandbox.Runtime) error) (err error) {
	sb, err := sandbox.New(ctx, sandbox.Options{CacheDir: compilationCache(), Compiler: moduleCompiler(), Warm: string(pdk.OpDescribe)})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := sb.Close(context.WithoutCancel(ctx)); err == nil {
			err = closeErr
		}
	}()
	return do(sb)
}

// compilationCache is where compiled modules are kept for the next command; ""
// keeps none.
func compilationCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "provost", "wasm")
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, word := float64(n)/unit, "KiB"
	for _, w := range []string{"MiB", "GiB"} {
		if v >= unit {
			v, word = v/unit, w
		}
	}
	return fmt.Sprintf("%.1f %s", v, word)
}
