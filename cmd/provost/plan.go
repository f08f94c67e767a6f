package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/plan"
	"github.com/provosthq/provost/host/store"
)

// planFile is a plan with its changes: what --out writes, for somebody to sign
// off, and what run takes.
type planFile struct {
	*api.Plan
	Changes []*host.PlannedChange `json:"Changes"`
}

func newPlanCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "plan", Short: "Sets of changes: looked at, held back by a threshold, allowed"}
	cmd.AddCommand(newPlanList(s), newPlanGet(s), newPlanDecide(s, "allow", "Have a plan done exactly as it is shown"),
		newPlanDecide(s, "reject", "End a plan before its first change"), newPlanRun(s))
	return cmd
}

func newPlanList(s *session) *cobra.Command {
	var app string
	var states []string
	cmd := &cobra.Command{
		Use: "list", Short: "List plans, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, st := range states {
				if !slices.Contains(host.PlanStates, host.PlanState(st)) {
					return host.Errorf(host.Usage, "--state %q: there is %s", st, join(host.PlanStates))
				}
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []*api.Plan
				if err := c.do(ctx, http.MethodGet, "/api/v1/plans", url.Values{"app": {app}, "state": states, "limit": {"1000"}}, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, p := range list {
					rows[i] = []string{p.Name, p.Kind, p.AppName, string(p.State), countsText(p.Counts), p.CreatedDate.Local().Format(time.DateTime), p.Actor, p.Reason}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"PLAN", "KIND", "APP", "STATE", "CHANGES", "MADE", "BY", "REASON"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "only of this app")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only in these states")
	return cmd
}

func countsText(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[op], op))
	}
	return strings.Join(parts, ", ")
}

func newPlanGet(s *session) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "get PLAN", Short: "Show a plan and each of its changes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var p *api.Plan
				if err := c.do(ctx, http.MethodGet, "/api/v1/plans/"+url.PathEscape(args[0]), nil, nil, &p); err != nil {
					return err
				}
				return showPlan(ctx, cmd.OutOrStdout(), s.output, out, c, p)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the plan into a file, to be signed off and run later")
	return cmd
}

// showPlan prints a plan with its changes, and writes it into a file where out
// names one.
func showPlan(ctx context.Context, w io.Writer, format, out string, c *client, p *api.Plan) error {
	changes, err := pages(0, func(n int, last *host.PlannedChange) (list []*host.PlannedChange, err error) {
		q := url.Values{"limit": {strconv.Itoa(n)}}
		if last != nil {
			q.Set("after", strconv.FormatInt(last.Number, 10))
		}
		return list, c.do(ctx, http.MethodGet, "/api/v1/plans/"+p.Id+"/changes", q, nil, &list)
	})
	if err != nil {
		return err
	}
	file := planFile{p, changes}
	if out != "" {
		text, err := json.MarshalIndent(file, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(text, '\n'), 0o600); err != nil {
			return host.Errorf(host.InvalidInput, "--out: %w", err)
		}
	}
	if format != "table" {
		return term.Write(w, format, file, nil, nil)
	}
	of := ""
	if p.AppName != "" {
		of = " of " + p.AppName
	}
	fmt.Fprintf(w, "%s  %s%s   %s: %s\n", p.Name, p.Kind, of, p.State, countsText(p.Counts))
	if p.Reason != "" {
		fmt.Fprintf(w, "  %s\n", p.Reason)
	}
	if p.DecidedBy != "" {
		fmt.Fprintf(w, "  decided by %s %s\n", p.DecidedBy, p.DecisionReason)
	}
	if p.Made+p.Refused > 0 {
		fmt.Fprintf(w, "  %d are requests now, %d were left alone   -> provost request list --app %s\n", p.Made, p.Refused, p.AppName)
	}
	rows := make([][]string, len(changes))
	for i, ch := range changes {
		reason := ch.Reason
		if ch.Error != "" {
			reason = ch.Error
		}
		rows[i] = []string{string(ch.Operation), ch.Subject, reason, driftText(ch.Differences)}
	}
	if len(rows) > 0 {
		if err := term.Write(w, format, changes, []string{"OPERATION", "WHO", "BECAUSE", "FROM -> TO"}, rows); err != nil {
			return err
		}
	}
	switch {
	case out != "":
		fmt.Fprintf(w, "written into %s   -> provost plan run %s\n", out, out)
	case p.State == host.PlanPlanned || p.State == host.PlanQuarantined:
		fmt.Fprintf(w, "nothing has happened yet   -> provost plan allow %s, provost plan reject %s\n", p.Name, p.Name)
	}
	return nil
}

func newPlanDecide(s *session, verb, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " PLAN", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				return decidePlan(ctx, cmd, s, c, args[0], verb, map[string]string{"reason": reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look later")
	return cmd
}

func decidePlan(ctx context.Context, cmd *cobra.Command, s *session, c *client, id, verb string, in map[string]string) error {
	var p *api.Plan
	if err := c.do(ctx, http.MethodPost, "/api/v1/plans/"+url.PathEscape(id)+"/"+verb, nil, in, &p); err != nil {
		return err
	}
	if err := showPlan(ctx, cmd.OutOrStdout(), s.output, "", c, p); err != nil {
		return err
	}
	return staleError(p)
}

// staleError makes a command fail where the world has changed.
func staleError(p *api.Plan) error {
	switch p.State {
	case host.PlanStale:
		return host.Errorf(host.Conflict, "%s is stale, nothing was done: %s", p.Name, p.Reason)
	case host.PlanFailed:
		return host.Errorf(host.Internal, "%s failed: %s", p.Name, p.Reason)
	}
	return nil
}

func newPlanRun(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "run FILE", Short: "Have a plan that was written with --out done exactly as it is there", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openFileOrStdin(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			var f planFile
			if err := json.NewDecoder(in).Decode(&f); err != nil || f.Plan == nil || f.Plan.Plan == nil || f.Id == "" || f.Digest == "" {
				return host.Errorf(host.InvalidInput, "%s is no plan   -> provost reconcile process --dry-run --out FILE", args[0])
			}
			if plan.Digest(f.Changes) != f.Digest {
				return host.Errorf(host.Conflict, "%s is not what was written: its changes and its digest do not fit", args[0])
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				return decidePlan(ctx, cmd, s, c, f.Id, "allow", map[string]string{"digest": f.Digest, "reason": "run from " + args[0]})
			})
		},
	}
}

func newReconcileProcess(s *session) *cobra.Command {
	var app, out string
	var o api.ProcessOptions
	cmd := &cobra.Command{
		Use: "process --app APP", Short: "Do what follows for each account: missing, drifted, of nobody, of people who should have none", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out != "" && !o.DryRun {
				return host.Errorf(host.Usage, "--out is for a plan that is only to be looked at: add --dry-run")
			}
			return s.working(cmd.Context(), func(ctx context.Context, c *client) error {
				var p *api.Plan
				if err := c.do(ctx, http.MethodPost, "/api/v1/apps/"+url.PathEscape(app)+"/process", nil, o, &p); err != nil {
					return err
				}
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for p.State == host.PlanMaking || p.State == host.PlanReleased {
					select {
					case <-tick.C:
					case <-ctx.Done():
						return &host.Error{Code: host.Cancelled, Message: "interrupted; " + p.Name + " goes on in the daemon", Err: ctx.Err()}
					}
					if err := c.do(ctx, http.MethodGet, "/api/v1/plans/"+p.Id, nil, nil, &p); err != nil {
						return err
					}
				}
				if err := showPlan(ctx, cmd.OutOrStdout(), s.output, out, c, p); err != nil {
					return err
				}
				if p.State == host.PlanQuarantined {
					return host.Errorf(host.Conflict, "%s was stopped before the first change: %s", p.Name, p.Reason)
				}
				return staleError(p)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "name of the app")
	cmd.Flags().StringVar(&o.Missing, "missing", "", "for people without an account: nothing or create (default: as configured)")
	cmd.Flags().StringVar(&o.Drift, "drift", "", "for accounts with other values: nothing, update or accept")
	cmd.Flags().StringVar(&o.Orphaned, "orphaned", "", "for accounts of nobody: nothing, deactivate or delete")
	cmd.Flags().StringVar(&o.Unassigned, "unassigned", "", "for accounts of people who should have none: nothing, deactivate or delete")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only show what would be done")
	cmd.Flags().StringVar(&out, "out", "", "with --dry-run: write the plan into a file, to be signed off and run later")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	return cmd
}

func (s service) AllowRun(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditThresholdAllow, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.reconcile.Allow(ctx, t, id, reason)
	})
}

func (s service) RejectRun(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditThresholdReject, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.reconcile.Reject(ctx, t, id, reason)
	})
}

func newReconcileDecide(s *session, verb, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " REQUEST", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/"+verb, nil, map[string]string{"reason": reason}, &r); err != nil {
					return err
				}
				return writeRequests(cmd.OutOrStdout(), s.output, []request{r})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look later")
	return cmd
}

// Process, Plans, Plan, PlannedChanges, AllowPlan and RejectPlan are the API's
// plans.
func (s service) Process(ctx context.Context, app string, o api.ProcessOptions) (p *host.Plan, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		if p, err = s.plan.Start(ctx, tx{Tx: t, d: s.daemon}, app, plan.ProcessOptions(o)); err != nil || o.DryRun {
			return err
		}
		return s.auditPlan(ctx, t, host.AuditPlanStart, p)
	})
	return p, err
}

func (s service) Plans(ctx context.Context, app string, states []host.PlanState, limit int) (list []*host.Plan, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		list, err = t.Plans(ctx, store.PlanFilter{AppName: app, States: states, Limit: limit})
		return err
	})
	return list, err
}

func findPlan(ctx context.Context, t *store.Tx, id string) (*host.Plan, error) {
	if n, err := strconv.ParseInt(strings.TrimPrefix(strings.ToUpper(id), "PLN-"), 10, 64); err == nil {
		return t.PlanByNumber(ctx, n)
	}
	return t.Plan(ctx, id)
}

func (s service) Plan(ctx context.Context, id string) (p *host.Plan, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error { p, err = findPlan(ctx, t, id); return err })
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (s service) PlannedChanges(ctx context.Context, id string, after int64, limit int) (list []*host.PlannedChange, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		p, err := findPlan(ctx, t, id)
		if err != nil {
			return err
		}
		list, err = t.Changes(ctx, p.Id, after, limit)
		return err
	})
	return list, err
}

func (s service) AllowPlan(ctx context.Context, id, digest, reason string) (*host.Plan, error) {
	return s.decidePlan(ctx, host.AuditThresholdAllow, id, func(t tx, p *host.Plan) (*host.Plan, error) {
		if digest != "" && digest != p.Digest {
			return nil, host.Errorf(host.Conflict, "%s is another set of changes than the one that was signed off", p.Name())
		}
		return s.plan.Allow(ctx, t, p.Id, reason)
	})
}

func (s service) RejectPlan(ctx context.Context, id, reason string) (*host.Plan, error) {
	return s.decidePlan(ctx, host.AuditThresholdReject, id, func(t tx, p *host.Plan) (*host.Plan, error) { return s.plan.Reject(ctx, t, p.Id, reason) })
}

// decidePlan decides about a plan, and notes it in the audit trail: also what
// was refused, for a plan may change hundreds of accounts.
func (s service) decidePlan(ctx context.Context, action host.AuditAction, id string, decide func(tx, *host.Plan) (*host.Plan, error)) (p *host.Plan, err error) {
	name := ""
	err = s.store.Update(ctx, func(t *store.Tx) error {
		found, err := findPlan(ctx, t, id)
		if err != nil {
			return err
		}
		name = found.Name()
		if p, err = decide(tx{Tx: t, d: s.daemon}, found); err != nil {
			return err
		}
		return s.auditPlan(ctx, t, action, p)
	})
	if err == nil {
		return p, nil
	}
	if name != "" {
		s.auditRefused(ctx, action, host.AuditObject{Kind: "plan", Name: name}, err, nil)
	}
	return nil, err
}
