package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins"
)

func newPluginCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "plugin", Short: "Write, build, try and list connectors"}
	cmd.AddCommand(newPluginNew(), newPluginBuild(), newPluginInspect(), newPluginCall(), newPluginTest(), newPluginList())
	return cmd
}

// builtinPrefix marks a connector that is embedded in this binary.
const builtinPrefix = "builtin:"

// readConnector reads the module that a source names: builtin:NAME or a file,
// relative to dir. The name is for messages.
func readConnector(source, dir string) (name string, wasm []byte, err error) {
	if name, ok := strings.CutPrefix(source, builtinPrefix); ok {
		wasm, ok := plugins.Builtin(name)
		if ok {
			return name, wasm, nil
		}
		if len(plugins.Names()) == 0 {
			return "", nil, host.Errorf(host.InvalidInput, "%s: this binary was built without connectors   -> make build", source)
		}
		return "", nil, host.Errorf(host.InvalidInput, "%s: there is no such connector in this binary; there is %s", source, strings.Join(plugins.Names(), ", "))
	}
	file := source
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, host.Errorf(host.InvalidInput, "%s: there is no such file; name a .wasm file or one of %s", source, builtinSources())
	case err != nil:
		return "", nil, host.Errorf(host.InvalidInput, "%w", err)
	case info.IsDir():
		return "", nil, host.Errorf(host.InvalidInput, "%s: is a folder   -> provost plugin build %s", source, source)
	}
	if most := int64(sandbox.DefaultLimits().ModuleBytes); info.Size() > most {
		return "", nil, host.Errorf(host.LimitExceeded, "%s: has %s, a connector may have %s", source, bytesText(info.Size()), bytesText(most))
	}
	if wasm, err = os.ReadFile(file); err != nil {
		return "", nil, host.Errorf(host.InvalidInput, "%w", err)
	}
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), wasm, nil
}

func builtinSources() string {
	names := plugins.Names()
	if len(names) == 0 {
		return "the built-in connectors (none in this binary: make build)"
	}
	return builtinPrefix + strings.Join(names, ", "+builtinPrefix)
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
