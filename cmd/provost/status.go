package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// overview is all that status shows.
type overview struct {
	api.Status
	// Checks are those that are not well.
	Checks   []api.Check   `json:"checks"`
	Notices  []api.Notice  `json:"notices"`
	Waits    []api.Wait    `json:"waits"`
	Failures []api.Failure `json:"failures"`
	// Targets are those that are left alone, or waited for.
	Targets []api.Target `json:"targets"`
}

func newStatusCommand(s *session) *cobra.Command {
	var once, watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "A look at the whole host: what waits, what fails, where, since when", Args: cobra.NoArgs,
		Long: `Shows what is not well and what a person must do, what waits and what fails, which
target and which connector, since when. On a terminal it is shown anew every two
seconds until it is interrupted; elsewhere, and with --once, one time.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return host.Errorf(host.Usage, "--every %s: at least 100ms", every)
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				w := cmd.OutOrStdout()
				if s.output == "table" && !once {
					if screen, ok := term.NewScreen(w); ok {
						err := watchOn(ctx, screen, c, every)
						return firstError(screen.Close(), err)
					}
				}
				for {
					now, err := look(ctx, c)
					if err != nil {
						return err
					}
					if s.output == "table" {
						err = showOverview(w, now, time.Now())
					} else {
						err = term.Write(w, s.output, now, nil, nil)
					}
					if err != nil || !watch || !pause(ctx, every) {
						return err
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "show it one time, on a terminal too")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again and again, where there is no terminal too")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often")
	cmd.MarkFlagsMutuallyExclusive("once", "watch")
	return cmd
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pause waits; it is false where ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// watchOn shows it until ctx ends. A daemon that is away may come back.
func watchOn(ctx context.Context, screen *term.Screen, c *client, every time.Duration) error {
	for {
		frame, began := screen.Frame(), time.Now()
		now, err := look(ctx, c)
		took := time.Since(began)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintf(frame, "%s  %s\n", time.Now().Format(time.TimeOnly), oneLine(err.Error()))
		} else if err := showOverview(frame, now, time.Now()); err != nil {
			return err
		}
		if err := screen.Show(frame); err != nil {
			return err
		}
		// To look costs the database something: a fifth of the time at most.
		if !pause(ctx, max(every, 4*took)) {
			return nil
		}
	}
}

// look asks for all that status shows.
func look(ctx context.Context, c *client) (*overview, error) {
	now := overview{Checks: []api.Check{}, Targets: []api.Target{}}
	var ready api.Readiness
	var targets []api.Target
	for _, one := range []struct {
		path string
		into any
	}{{"/api/v1/status", &now.Status}, {"/api/v1/readiness", &ready}, {"/api/v1/notices", &now.Notices}, {"/api/v1/waits", &now.Waits}, {"/api/v1/failures", &now.Failures}, {"/api/v1/targets", &targets}} {
		if err := c.do(ctx, http.MethodGet, one.path, nil, nil, one.into); err != nil {
			return nil, err
		}
	}
	for _, t := range targets {
		if t.State != host.BreakerClosed || t.Waiting > 0 {
			now.Targets = append(now.Targets, t)
		}
	}
	told := map[string]bool{}
	for _, n := range now.Notices {
		told[string(n.Kind)+" "+n.Subject] = true
	}
	for _, check := range ready.Checks {
		// What is a notice, too, is told once.
		if check.Status != api.CheckOK && !told[check.Name] && !(check.Name == "config" && hasKind(now.Notices, host.NoticeConfiguration)) {
			now.Checks = append(now.Checks, check)
		}
	}
	return &now, nil
}

func hasKind(list []api.Notice, kind host.NoticeKind) bool {
	return slices.ContainsFunc(list, func(n api.Notice) bool { return n.Kind == kind })
}

// showOverview writes what is not well first, and what is always there last.
func showOverview(w io.Writer, o *overview, now time.Time) error {
	fmt.Fprintf(w, "provost %s on %s, %d users, %d jobs wait or run, up %s\n", o.Version, o.Database, o.Users, o.Queue, ageText(o.StartedAt, now))
	section := func(title string) { fmt.Fprintf(w, "\n%s\n", title) }
	if len(o.Checks) > 0 {
		section("NOT WELL")
		for _, c := range o.Checks {
			fmt.Fprintf(w, "%s: %s\n", oneLine(c.Name), oneLine(c.Reason))
		}
	}
	if len(o.Notices) > 0 {
		section("FOR A PERSON")
		for _, n := range o.Notices {
			fmt.Fprintln(w, oneLine(n.Text))
		}
	}
	if len(o.Failures) > 0 {
		section("FAILED IN THE LAST 24 HOURS")
		rows := make([][]string, len(o.Failures))
		for i, f := range o.Failures {
			rows[i] = []string{f.App, string(f.Operation), string(f.Error), strconv.FormatInt(f.Requests, 10), ageText(f.Since, now), ageText(f.Last, now), f.Connector, f.Target}
		}
		if err := term.Table(w, []string{"APP", "OPERATION", "ERROR", "REQUESTS", "FIRST", "LAST", "CONNECTOR", "TARGET"}, rows); err != nil {
			return err
		}
	}
	if len(o.Targets) > 0 {
		section("TARGETS IN TROUBLE")
		rows := make([][]string, len(o.Targets))
		for i, t := range o.Targets {
			since := ""
			if t.TargetState != nil && t.Since != nil {
				since = ageText(*t.Since, now)
			}
			rows[i] = []string{t.Name, string(t.State), strconv.FormatInt(t.Waiting, 10), since, t.LastError}
		}
		if err := term.Table(w, []string{"TARGET", "BREAKER", "WAITING", "SINCE", "LAST ERROR"}, rows); err != nil {
			return err
		}
	}
	if len(o.Waits) > 0 {
		section("OPEN REQUESTS")
		rows := make([][]string, len(o.Waits))
		for i, one := range o.Waits {
			rows[i] = []string{one.App, waitText(one.For), strconv.FormatInt(one.Requests, 10), ageText(one.Since, now)}
		}
		if err := term.Table(w, []string{"APP", "WAIT FOR", "REQUESTS", "OLDEST"}, rows); err != nil {
			return err
		}
	}
	section("APPS")
	rows := make([][]string, len(o.Apps))
	for i, a := range o.Apps {
		rows[i] = []string{a.Name}
		for _, state := range []host.RequestState{host.StateNew, host.StateRequested, host.StateCompleted, host.StateFailed} {
			rows[i] = append(rows[i], strconv.FormatInt(a.Requests[state], 10))
		}
		for _, state := range host.LinkStates {
			rows[i] = append(rows[i], strconv.FormatInt(a.Accounts[state], 10))
		}
		rows[i] = append(rows[i], timeText(a.NextRun))
	}
	return term.Table(w, []string{"APP", "WAITING", "RUNNING", "COMPLETED", "FAILED", "LINKED", "DUPLICATE", "ORPHANED", "IGNORED", "NEXT RUN"}, rows)
}

// waitText says what requests wait for.
func waitText(what string) string {
	switch what {
	case "worker":
		return "their turn"
	case "later":
		return "a time"
	case "nothing":
		return "nothing: they are done now"
	}
	if forPerson(what) {
		return what + ", by a person"
	}
	return what
}

// ageText says how long ago something was: 12s, 3m, 5h, 2d.
func ageText(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := max(0, now.Sub(at))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60), "0m")
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
