package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
)

func newSupportBundleCommand() *cobra.Command {
	s := &session{output: "table"}
	var out string
	cmd := &cobra.Command{
		Use: "support-bundle", Short: "Write what helps others to find out what is wrong, without secrets", Args: cobra.NoArgs,
		Long: `Writes a .tar.gz with what runs, the keys of the configuration, what provost doctor
and status say, metrics, the newest lines of the log, profiles of the daemon, and
the heads of schema and audit trail. It has no secrets; of people it has at most
what a target has said in an error. Look before you send it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				out = "provost-support-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			err := s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				answer, err := c.send(ctx, http.MethodGet, "/api/v1/support-bundle", nil, "application/json", nil)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				return writeBundle(out, answer.Body)
			})
			if err != nil {
				if _, loadErr := config.Load(configFile(s.config)); s.remote.address() == "" && (loadErr != nil || host.CodeOf(err) == host.Unavailable) {
					return host.Errorf(host.CodeOf(err), "%w\nwithout a host there is nothing to bundle   -> provost doctor", err)
				}
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s has no secrets; look before you send it: tar -tzf %s\n", out, out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&s.config, "config", "c", "", "configuration file (default: PROVOST_CONFIG, else provost.yaml)")
	s.remote.flags(cmd.Flags())
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write (default: provost-support-TIME.tar.gz here); it must not be there yet")
	return cmd
}

// writeBundle writes a file that was not there before, for us alone to read.
// Where it fails the file is gone again.
func writeBundle(name string, in io.Reader) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return host.Errorf(host.Conflict, "%s is there already", name)
	} else if err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(name) // the first error is the one to tell
		}
	}()
	if _, err = io.Copy(f, in); err != nil {
		err = host.Errorf(host.Unavailable, "it was cut off: %w", err)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
