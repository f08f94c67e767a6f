package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/reconcile"
)

// request is a request as the API shows it.
type request = api.Request

func newRequestCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "request", Short: "Provisioning requests: what was asked, what came of it"}
	cmd.AddCommand(newRequestList(s), newRequestGet(s), newRequestCreate(s),
		newRequestComplete(s), newRequestAgain(s), newRequestTest(s))
	for _, v := range requestVerbs {
		cmd.AddCommand(newRequestVerb(s, v))
	}
	return cmd
}

func newRequestList(s *session) *cobra.Command {
	var app, user, operation, approval, approver, code string
	var state []string
	var limit int
	approvals := []host.ApprovalStatus{host.ApprovalRequired, host.ApprovalNotRequired, host.ApprovalApproved, host.ApprovalDenied}
	cmd := &cobra.Command{
		Use: "list", Short: "List requests", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if approver != "" && approval == "" {
				approval = string(host.ApprovalRequired)
			}
			if approval != "" && !slices.Contains(approvals, host.ApprovalStatus(approval)) {
				return host.Errorf(host.Usage, "--approval %q: there is %s", approval, join(approvals))
			}
			for _, st := range state {
				if !slices.Contains(host.RequestStates, host.RequestState(st)) {
					return host.Errorf(host.Usage, "--state %q: there is %s", st, join(host.RequestStates))
				}
			}
			if operation != "" && !slices.Contains(host.Operations, host.Operation(operation)) {
				return host.Errorf(host.Usage, "--operation %q: there is %s", operation, join(host.Operations))
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				list, err := pages(limit, func(n int, last request) ([]request, error) {
					q := url.Values{"app": {app}, "user": {user}, "state": state, "operation": {operation}, "approval": {approval}, "approver": {approver},
						"error": {code}, "limit": {strconv.Itoa(n)}}
					if last.UserProvisioningRequest != nil {
						q.Set("after", strings.TrimPrefix(last.Name, "UPR-"))
					}
					var page []request
					return page, c.do(ctx, http.MethodGet, "/api/v1/requests", q, nil, &page)
				})
				if err != nil {
					return err
				}
				if approval == string(host.ApprovalRequired) {
					return writeAwaiting(cmd.OutOrStdout(), s.output, list)
				}
				return writeRequests(cmd.OutOrStdout(), s.output, list)
			})
		},
	}
	cmd.Flags().StringVar(&approval, "approval", "", "only with this approval status: "+join(approvals))
	cmd.Flags().StringVar(&approver, "approver", "", "only what this user may approve")
	cmd.Flags().StringVar(&code, "error", "", "only with this error, such as Unavailable")
	cmd.Flags().StringVar(&app, "app", "", "only of this app")
	cmd.Flags().StringVar(&user, "user", "", "only of this user")
	cmd.Flags().StringSliceVar(&state, "state", nil, "only in these states")
	cmd.Flags().StringVar(&operation, "operation", "", "only this operation")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (default all)")
	return cmd
}

func writeRequests(w io.Writer, format string, list []request) error {
	rows := make([][]string, len(list))
	for i, r := range list {
		state := string(r.State)
		if r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired {
			state += " (needs approval)"
		}
		rows[i] = []string{r.Name, string(r.Operation), r.AppName, r.Username, state, strconv.Itoa(r.Attempt),
			r.CreatedDate.Local().Format(time.DateTime), r.ErrorMessage}
	}
	return term.Write(w, format, list, []string{"REQUEST", "OPERATION", "APP", "FOR", "STATE", "ATTEMPTS", "MADE", "ERROR"}, rows)
}

func newRequestGet(s *session) *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use: "get REQUEST", Short: "Show one request and its log", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				r, err := getRequest(ctx, c, args[0])
				if err != nil {
					return err
				}
				return showRequest(ctx, cmd.OutOrStdout(), s.output, c, r, trace)
			})
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show every attempt, what it cost and what it sent")
	return cmd
}

func getRequest(ctx context.Context, c *client, id string) (request, error) {
	var r request
	err := c.do(ctx, http.MethodGet, "/api/v1/requests/"+url.PathEscape(id), nil, nil, &r)
	return r, err
}

// showRequest prints a request, its log and, with trace, what each attempt
// sent and cost.
func showRequest(ctx context.Context, w io.Writer, format string, c *client, r request, trace bool) error {
	if format != "table" {
		return term.Write(w, format, r, nil, nil)
	}
	subject := r.AppName
	if r.UserId != "" {
		var u host.User
		if c.do(ctx, http.MethodGet, "/api/v1/users/"+url.PathEscape(r.UserId), nil, nil, &u) == nil {
			subject = u.DisplayName() + " -> " + r.AppName
		}
	}
	end := string(r.State)
	if r.CompletedDate != nil && r.StartedDate != nil {
		end += " in " + r.CompletedDate.Sub(*r.StartedDate).Round(time.Millisecond).String()
	}
	fmt.Fprintf(w, "%s  %s  %s   %s, attempt %d\n", r.Name, r.Operation, subject, end, r.Attempt)
	if r.Reason != "" {
		fmt.Fprintf(w, "  because %s\n", r.Reason)
	}
	if r.ErrorMessage != "" {
		fmt.Fprintf(w, "  %s: %s\n", r.ErrorCode, r.ErrorMessage)
	}
	for _, line := range approvalLines(r) {
		fmt.Fprintf(w, "  %s\n", oneLine(line))
	}
	for _, n := range sortedCounts(r.Summary) {
		fmt.Fprintf(w, "  %s\n", n)
	}
	widest := 0
	for _, l := range r.Log {
		widest = max(widest, len(oneLine(l.Actor)))
	}
	for _, l := range r.Log {
		fmt.Fprintf(w, " %s  %-14s %-*s  %s\n", l.CreatedDate.Local().Format("15:04:05.000"), l.Status, widest, oneLine(l.Actor), l.Details)
		if l.Trace == nil {
			continue
		}
		t := l.Trace
		if trace {
			fmt.Fprintf(w, "%16s%s · %s in the sandbox · %s of fuel · %.1f MB · %d calls\n", "", t.Connector,
				(t.Duration - t.HTTPDuration).Round(10*time.Microsecond), fuelText(t.Fuel), float64(t.MemoryBytes)/(1<<20), len(t.Callouts))
		}
		for i, call := range t.Callouts {
			if i == mostCalloutsShown && !trace {
				fmt.Fprintf(w, "%18s… and %d more   -> provost request get %s --trace\n", "", len(t.Callouts)-i, r.Name)
				break
			}
			again := ""
			if call.Retries > 0 {
				again = fmt.Sprintf(", after %d retries", call.Retries)
			}
			fmt.Fprintf(w, "%18s%s %s  %s in %s%s\n", "", call.Method, call.URL, statusText(call), call.Duration.Round(10*time.Microsecond), again)
			if !trace {
				continue
			}
			if p := phasesText(call); p != "" {
				fmt.Fprintf(w, "%20s%s\n", "", p)
			}
			for _, one := range []struct {
				way, body string
				header    map[string]string
			}{{">", call.RequestBody, call.RequestHeader}, {"<", call.ResponseBody, call.ResponseHeader}} {
				for _, name := range slices.Sorted(maps.Keys(one.header)) {
					fmt.Fprintf(w, "%20s%s %s: %s\n", "", one.way, name, oneLine(one.header[name]))
				}
				if one.body != "" {
					fmt.Fprintf(w, "%20s%s %s\n", "", one.way, one.body)
				}
			}
		}
		if !trace {
			continue
		}
		for _, line := range t.Logs {
			fmt.Fprintf(w, "%18s%s\n", "", line)
		}
	}
	return nil
}

// mostCalloutsShown is how many calls of an attempt are shown to who does not
// ask for its trace.
const mostCalloutsShown = 5

// phasesText says where the time of a call went, how much went each way, and
// over what.
func phasesText(c host.Callout) string {
	var parts []string
	for _, one := range []struct {
		name string
		took time.Duration
	}{{"its turn", c.Phases.Turn}, {"sign-in", c.Phases.SignIn}, {"resolve", c.Phases.Resolve}, {"connect", c.Phases.Connect}, {"tls", c.Phases.TLS}, {"wait", c.Phases.Wait}, {"read", c.Phases.Read}} {
		if one.took >= 10*time.Microsecond {
			parts = append(parts, one.name+" "+one.took.Round(10*time.Microsecond).String())
		}
	}
	parts = append(parts, fmt.Sprintf("%d B out, %d B in", c.RequestBytes, c.ResponseBytes))
	if c.Protocol != "" {
		parts = append(parts, c.Protocol+" "+c.Address)
	}
	if c.Reused {
		parts = append(parts, "same connection")
	}
	return strings.Join(parts, " · ")
}

func statusText(c host.Callout) string {
	if c.Status == 0 {
		return "no answer: " + c.Error
	}
	return strconv.Itoa(c.Status)
}

func sortedCounts(counts map[string]int64) []string {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%-12s %6d", name, counts[name])
	}
	return names
}

func newRequestCreate(s *session) *cobra.Command {
	var user, app, operation string
	var wait, trace, dry bool
	cmd := &cobra.Command{
		Use: "create --user USER --app APP --operation OPERATION", Short: "Make a request by hand", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			open := s.with
			if wait {
				open = s.working
			}
			return open(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				in := map[string]string{"user": user, "app": app, "operation": operation}
				if dry {
					text, err := json.Marshal(in)
					if err != nil {
						return err
					}
					return c.dryRun(ctx, cmd.OutOrStdout(), s.output, http.MethodPost, "/api/v1/requests", nil, bytes.NewReader(text))
				}
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests", nil, in, &r); err != nil {
					return err
				}
				if wait {
					var err error
					if r, err = waitFor(ctx, c, r.Id, nil); err != nil {
						return err
					}
				}
				if err := showRequest(ctx, cmd.OutOrStdout(), s.output, c, r, trace); err != nil {
					return err
				}
				return failedError(r)
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "id or username")
	cmd.Flags().StringVar(&app, "app", "", "name of the app")
	cmd.Flags().StringVar(&operation, "operation", "", "Create, Read, Update, Deactivate, Activate, Freeze, Unfreeze, Reactivate or Delete")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would be asked of the app")
	cmd.Flags().BoolVar(&trace, "trace", false, "show every attempt, what it cost and what it sent")
	for _, f := range []string{"user", "app", "operation"} {
		_ = cmd.MarkFlagRequired(f) // fails only for a flag that does not exist
	}
	return cmd
}

// failedError makes a command fail when what it waited for did.
func failedError(r request) error {
	if r.State != host.StateFailed {
		return nil
	}
	return &host.Error{Code: r.ErrorCode, Message: fmt.Sprintf("%s failed: %s   -> provost request retry %s", r.Name, r.ErrorMessage, r.Name)}
}

// waitFor follows a request until it ends, or for a Reconcile until it has
// been analyzed and waits for a review. see is told of every look.
func waitFor(ctx context.Context, c *client, id string, see func(request)) (request, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := getRequest(ctx, c, id)
		if err != nil {
			return r, err
		}
		if see != nil {
			see(r)
		}
		if r.State.Ended() || r.Paused || r.State == host.StateAnalyzed && (!r.CommitWhenAnalyzed || r.Quarantine != "") {
			return r, nil
		}
		if r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired {
			return r, nil // that can take days
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r, &host.Error{Code: host.Cancelled, Message: "interrupted; " + r.Name + " goes on in the daemon", Err: ctx.Err()}
		}
	}
}

func newRequestComplete(s *session) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "complete REQUEST", Short: "Say that a person has done it by hand", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/complete", nil, map[string]string{"note": note}, &r); err != nil {
					return err
				}
				return writeRequests(cmd.OutOrStdout(), s.output, []request{r})
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what was done, for the log")
	return cmd
}

func newRequestAgain(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "again REQUEST", Short: "Do once more what a request that has ended did, with the values of now", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/again", nil, nil, &r); err != nil {
					return err
				}
				return writeRequests(cmd.OutOrStdout(), s.output, []request{r})
			})
		},
	}
}

func newRequestTest(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "test REQUEST", Short: "Print a request as a Go test for the author of its connector; secrets are masked", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r api.Replay
				if err := c.do(ctx, http.MethodGet, "/api/v1/requests/"+url.PathEscape(args[0])+"/test", nil, nil, &r); err != nil {
					return err
				}
				if r.Source == "" {
					return host.Errorf(host.Conflict, "%s can't be made a test: %s   -> provost request again %s", args[0], r.Holds, args[0])
				}
				fmt.Fprintln(cmd.ErrOrStderr(), r.Holds)
				_, err := io.WriteString(cmd.OutOrStdout(), r.Source)
				return err
			})
		},
	}
}

func newReconcileCommand(s *session) *cobra.Command {
	var app, filter, mode string
	var wait, commit bool
	cmd := &cobra.Command{
		Use: "reconcile --app APP", Short: "Collect an app's accounts and find whose they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			open := s.with
			if wait {
				open = s.working
			}
			return open(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				path := "/api/v1/apps/" + url.PathEscape(app) + "/reconcile"
				if err := c.do(ctx, http.MethodPost, path, nil, api.ReconcileOptions{Filter: filter, Mode: mode, Commit: commit}, &r); err != nil {
					return err
				}
				if !wait {
					fmt.Fprintf(cmd.OutOrStdout(), "%s is under way   -> provost request get %s\n", r.Name, r.Name)
					return nil
				}
				return followReconcile(ctx, cmd, s, c, r.Id)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "name of the app")
	cmd.Flags().StringVar(&filter, "filter", "", "only accounts that match, in the target's own language")
	cmd.Flags().StringVar(&mode, "mode", "full", "full or delta")
	cmd.Flags().BoolVar(&wait, "wait", false, "show progress and wait until it is analyzed (and committed)")
	cmd.Flags().BoolVar(&commit, "commit", false, "commit without a review")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	cmd.AddCommand(newReconcileProcess(s), newReconcileCommit(s), newReconcileImport(s),
		newReconcileAct(s, "pause", "Stop a run between two pages"), newReconcileAct(s, "resume", "Let a paused run go on where it was"),
		newReconcileAct(s, "cancel", "End a run before its commit; nothing of it is stored"),
		newReconcileReview(s), newReconcileDecision(s, reconcile.Link, "Say in the review whose an account is; later runs keep it so"),
		newReconcileDecision(s, reconcile.Unlink, "Say in the review that accounts are nobody's; nothing changes in the target"),
		newReconcileDecision(s, reconcile.Ignore, "Let changes to the users have no effect on accounts"),
		newReconcileDecide(s, "allow", "Let a run in quarantine be committed"), newReconcileDecide(s, "reject", "End a run in quarantine; nothing of it is stored"))
	return cmd
}

func newReconcileCommit(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "commit REQUEST", Short: "Commit a run that has been analyzed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/commit", nil, nil, &r); err != nil {
					return err
				}
				return followReconcile(ctx, cmd, s, c, r.Id)
			})
		},
	}
}

func followReconcile(ctx context.Context, cmd *cobra.Command, s *session, c *client, id string) error {
	bar := term.NewProgress(cmd.ErrOrStderr(), "collecting", 0)
	r, err := waitFor(ctx, c, id, func(r request) { bar.Set(r.ReconFound, r.TotalEstimate) })
	bar.Done("")
	if err != nil {
		return err
	}
	if err := showRequest(ctx, cmd.OutOrStdout(), s.output, c, r, false); err != nil {
		return err
	}
	if r.Quarantine != "" {
		return host.Errorf(host.Conflict, "%s was stopped before its commit: %s   -> provost reconcile allow %s, provost reconcile reject %s", r.Name, r.Quarantine, r.Name, r.Name)
	}
	if r.State == host.StateAnalyzed && s.output == "table" {
		fmt.Fprintf(cmd.OutOrStdout(), "nothing is stored yet   -> provost reconcile review %s, provost reconcile commit %s\n", r.Name, r.Name)
	}
	return failedError(r)
}

func join[T ~string](words []T) string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return strings.Join(s, ", ")
}
