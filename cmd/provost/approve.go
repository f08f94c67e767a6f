package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// requestVerb is a command that acts on requests: on those that are named, or
// on all of a filter.
type requestVerb struct {
	verb, done, short, long string
	// all is the flag that means every request of the filter.
	all, allHelp string
	// approves: somebody says it (--as), with a reason.
	approves bool
}

var requestVerbs = []requestVerb{
	{verb: "retry", done: "retried", short: "Try failed requests again, as new ones", all: "failed", allHelp: "every failed request of the filter, but for those that were denied",
		long: `Tries failed requests again, as new ones with the values that the users have
now. A request that was denied asks for approval again. What the user's
standing has overtaken (somebody who has left would get an account) is refused.`},
	{verb: "cancel", done: "cancelled", short: "Withdraw requests that have not begun", all: "all", allHelp: "every request of the filter that has not begun"},
	{verb: "approve", done: "approved", short: "Let requests that wait for approval go on", all: "all", allHelp: "every request of the filter that waits for approval", approves: true,
		long: `Lets requests that wait for approval go on. With --as it is a user who says so:
the approver, or a member of the group, that the request names, and not for
themselves. Without, it is the administrator, who may approve everything.`},
	{verb: "deny", done: "denied", short: "End requests that wait for approval", all: "all", allHelp: "every request of the filter that waits for approval", approves: true},
	{verb: "delegate", done: "delegated", short: "Make another person the one who approves", all: "all", allHelp: "every request of the filter that waits for approval", approves: true},
}

func newRequestVerb(s *session, v requestVerb) *cobra.Command {
	var c api.RequestChoice
	var operation, code string
	var since time.Duration
	cmd := &cobra.Command{
		Use: v.verb + " REQUEST... | --" + v.all + " [--app APP] [--user USER]", Short: v.short, Long: v.long,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.All == (len(args) > 0) {
				return host.Errorf(host.Usage, "name requests, or give --%s for all of a filter (--app, --user, --operation, --error, --since), but not both", v.all)
			}
			if !c.All {
				for _, f := range []string{"app", "user", "operation", "error", "since"} {
					if cmd.Flags().Changed(f) {
						return host.Errorf(host.Usage, "--%s chooses among all: give --%s with it", f, v.all)
					}
				}
			}
			if v.verb == "delegate" && c.To == "" {
				return host.Errorf(host.Usage, "--to is missing: who is to approve?")
			}
			if since > 0 {
				at := time.Now().Add(-since)
				c.Since = &at
			}
			c.Operation, c.Error, c.Ids = host.Operation(operation), host.Code(code), args
			if v.approves && c.All {
				c.Approver = s.as
			}
			return s.with(cmd.Context(), func(ctx context.Context, to *client) error {
				if len(args) == 1 {
					var r request
					body := map[string]string{"reason": c.Reason, "to": c.To}
					if !v.approves {
						body = nil
					}
					if err := to.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/"+v.verb, nil, body, &r); err != nil {
						return err
					}
					return writeRequests(cmd.OutOrStdout(), s.output, []request{r})
				}
				return actOnMany(ctx, cmd, s, to, v, c)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.All, v.all, false, v.allHelp)
	f.StringVar(&c.App, "app", "", "only of this app")
	f.StringVar(&c.User, "user", "", "only of this user")
	f.StringVar(&operation, "operation", "", "only this operation")
	if v.approves {
		f.StringVar(&s.as, "as", "", "the user who says it (default: the administrator at this machine)")
		f.StringVar(&c.Reason, "reason", "", "why, for the log and whoever asked")
	} else {
		f.StringVar(&code, "error", "", "only with this error, such as Unavailable")
	}
	if v.verb == "delegate" {
		f.StringVar(&c.To, "to", "", "the user who is to approve")
	}
	f.DurationVar(&since, "since", 0, "only what ended, or else was made, in so long (24h)")
	return cmd
}

// actOnMany streams what is done with many requests, and counts at the end.
func actOnMany(ctx context.Context, cmd *cobra.Command, s *session, to *client, v requestVerb, c api.RequestChoice) error {
	bar := term.NewProgress(cmd.ErrOrStderr(), v.done, 0)
	result, err := stream[api.BulkResult](ctx, to, "/api/v1/requests/"+v.verb, c, func(done, skipped int64) { bar.Set(done+skipped, 0) })
	bar.Done("")
	if err != nil {
		return err
	}
	if s.output != "table" {
		if err := term.Write(cmd.OutOrStdout(), s.output, result, nil, nil); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "%d %s, %d skipped\n", result.Done, v.done, result.Skipped)
		for _, e := range result.Errors {
			fmt.Fprintln(cmd.OutOrStdout(), "  "+oneLine(e))
		}
		if n := result.Skipped - int64(len(result.Errors)); n > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "  and %d more\n", n)
		}
	}
	if !c.All && result.Skipped > 0 {
		return host.Errorf(host.Conflict, "%d of %d were not %s", result.Skipped, len(c.Ids), v.done)
	}
	return nil
}

// writeAwaiting lists requests by who is to approve them.
func writeAwaiting(w io.Writer, format string, list []request) error {
	rows := make([][]string, len(list))
	for i, r := range list {
		until := ""
		if r.ApprovalExpiresDate != nil {
			until = r.ApprovalExpiresDate.Local().Format(time.DateTime)
		}
		rows[i] = []string{r.Name, string(r.Operation), r.AppName, r.Username, whoApproves(r), until, r.Reason}
	}
	if err := term.Write(w, format, list, []string{"REQUEST", "OPERATION", "APP", "FOR", "APPROVER", "UNTIL", "BECAUSE"}, rows); err != nil || format != "table" || len(list) == 0 {
		return err
	}
	fmt.Fprintf(w, "   -> provost request approve %s, or deny\n", list[0].Name)
	return nil
}

// whoApproves names who is to approve a request.
func whoApproves(r request) string {
	switch {
	case r.ApproverGroup != "":
		return "group " + r.ApproverGroup
	default:
		return cmp.Or(r.Approver, "administrator")
	}
}

// approvalLines say how a request stands with whoever approves it.
func approvalLines(r request) (lines []string) {
	switch {
	case r.ApprovalStatus == host.ApprovalRequired && r.State == host.StateNew:
		line := "waits for the approval of " + whoApproves(r)
		if r.ApprovalReason != "" {
			line += ": " + r.ApprovalReason
		}
		if r.ApprovalExpiresDate != nil {
			line += ", until " + r.ApprovalExpiresDate.Local().Format(time.DateTime)
		}
		return []string{line, fmt.Sprintf(" -> provost request approve %s, or deny", r.Name)}
	case r.ApprovedBy != "":
		line := strings.ToLower(string(r.ApprovalStatus)) + " by " + r.ApprovedBy
		if r.ApprovalReason != "" {
			line += ": " + r.ApprovalReason
		}
		return []string{line}
	}
	return nil
}
