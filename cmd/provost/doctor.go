package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func newDoctorCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look at everything that provost needs, and say what to do", Args: cobra.NoArgs,
		Long: `Looks at the configuration, the database, clocks, the audit trail, disk and limits
of the machine, the connectors; signs in with each credential and asks its target
something. With a daemon it is the daemon that looks, and without one this
command. It changes nothing. The exit code is 1 where a check failed; warnings are
no failure.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(s.output); err != nil {
				return err
			}
			checks := s.examine(cmd.Context())
			if err := showChecks(cmd.OutOrStdout(), s.output, checks); err != nil {
				return err
			}
			return failedChecks(checks)
		},
	}
}

// examine runs all checks, those of the daemon where one runs. What can't even be
// begun is a check that failed.
func (s *session) examine(ctx context.Context) []api.Check {
	if s.remote.address() != "" {
		var found []api.Check
		if err := s.with(ctx, func(ctx context.Context, c *client) error {
			return c.do(ctx, http.MethodPost, "/api/v1/doctor", nil, nil, &found)
		}); err != nil {
			return []api.Check{{Name: "daemon", Status: api.CheckFail, Reason: messageOf(err)}}
		}
		return found
	}
	file := configFile(s.config)
	if _, err := os.Stat(file); err != nil {
		return []api.Check{{Name: "config", Status: api.CheckFail, Reason: err.Error(), Next: "give --config FILE or set PROVOST_CONFIG"}}
	}
	checks := []api.Check{{Name: "config file", Status: api.CheckOK, Reason: file}}
	if _, err := config.Load(file, checkConnectors(ctx)); err != nil {
		checks[0] = api.Check{Name: "config file", Status: api.CheckFail, Reason: err.Error(), Next: "provost config validate " + file}
	}
	err := s.with(ctx, func(ctx context.Context, c *client) error {
		by := api.Check{Name: "daemon", Status: api.CheckOK, Reason: "it runs, and answers on its socket"}
		if c.local != nil {
			by = api.Check{Name: "daemon", Status: api.CheckWarn, Reason: "none runs here, so nothing is provisioned by this machine; this command looks itself", Next: "provost serve"}
		}
		var found []api.Check
		if err := c.do(ctx, http.MethodPost, "/api/v1/doctor", nil, nil, &found); err != nil {
			return err
		}
		checks = append(append(checks, by), found...)
		return nil
	})
	switch {
	case err == nil:
	case isProblems(err) && checks[0].Status == api.CheckFail: // told already
	case ctx.Err() != nil:
		checks = append(checks, api.Check{Name: "host", Status: api.CheckFail, Reason: "interrupted"})
	default:
		checks = append(checks, api.Check{Name: "host", Status: api.CheckFail, Reason: "it can't be opened: " + err.Error(), Next: nextOf(err)})
		if cfg, err := config.Load(file); err == nil {
			checks = append(checks, checkMachine(cfg)...)
		}
	}
	return checks
}

// nextOf is what to do where a host can't be opened.
func nextOf(err error) string {
	if host.CodeOf(err) == host.Unavailable {
		return "see that the database runs, that database.url is right and that no other provost uses the file"
	}
	return "put that right, and run provost doctor again"
}

// showChecks writes checks, what is wrong with what to do about it.
func showChecks(w io.Writer, format string, checks []api.Check) error {
	if format != "table" {
		return term.Write(w, format, checks, nil, nil)
	}
	widest := 0
	for _, c := range checks {
		widest = max(widest, len([]rune(oneLine(c.Name))))
	}
	for _, c := range checks {
		lines := strings.Split(strings.TrimSpace(c.Reason), "\n")
		if !c.Since.IsZero() && c.Status != api.CheckOK {
			lines[0] += ", since " + c.Since.Local().Format(time.DateTime)
		}
		if _, err := fmt.Fprintf(w, "%-4s  %-*s  %s\n", c.Status, widest, oneLine(c.Name), strings.TrimRight(oneLine(lines[0]), " ")); err != nil {
			return err
		}
		for _, line := range lines[1:] {
			fmt.Fprintf(w, "      %-*s  %s\n", widest, "", strings.TrimRight(oneLine(line), " "))
		}
		if c.Next != "" && c.Status != api.CheckOK {
			fmt.Fprintf(w, "      %-*s  -> %s\n", widest, "", oneLine(c.Next))
		}
	}
	return nil
}
