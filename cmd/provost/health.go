package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// newHealthCommand is the check of a container that has no shell and no curl.
func newHealthCommand() *cobra.Command {
	var file string
	var alive bool
	var within time.Duration
	cmd := &cobra.Command{
		Use: "health", Short: "Ask the daemon of this machine whether it is ready; 0 yes, 1 no", Args: cobra.NoArgs,
		Long: `Asks the daemon over its socket for /readyz, with --alive for /healthz, as a
container's health check does. It starts nothing, reads no secret and looks at
nothing but the socket that the configuration names.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, word := "/readyz", "ready"
			if alive {
				path, word = "/healthz", "alive"
			}
			socket := config.Socket(configFile(file))
			if socket == "" {
				return missingConfig(configFile(file))
			}
			if err := askHow(cmd.Context(), socket, path, within); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), word)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file (default: PROVOST_CONFIG, else provost.yaml)")
	cmd.Flags().BoolVar(&alive, "alive", false, "only whether it is there, not whether it can serve")
	cmd.Flags().DurationVar(&within, "within", 5*time.Second, "how long it may take to answer")
	return cmd
}

// readiness is what a page says of why a daemon is not well, in one line.
func readiness(r io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	var now api.Readiness
	if json.Unmarshal(b, &now) == nil {
		var failed []string
		for _, c := range now.Checks {
			if c.Status == api.CheckFail {
				failed = append(failed, c.Name+": "+oneLine(c.Reason))
			}
		}
		if len(failed) > 0 {
			return strings.Join(failed, "; ")
		}
	}
	b = b[:min(len(b), 4<<10)]
	if text := strings.TrimSpace(oneLine(string(b))); err == nil && text != "" {
		return text
	}
	return "the daemon is not ready, and does not say why"
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = host.Errorf(host.InvalidInput, "%s is larger than %d bytes", path, most)
	}
	return b, err
}
