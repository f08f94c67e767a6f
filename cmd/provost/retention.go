package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// Prune removes what has ended longer ago than the configuration keeps it.
func (s service) Prune(ctx context.Context, dryRun bool) (map[string]int64, error) {
	keep, now, counts := s.current.Load().config.Retention, time.Now(), map[string]int64{}
	r := store.Retention{DryRun: dryRun}
	if keep.Requests > 0 { // 0 keeps all
		r.Requests = now.Add(-keep.Requests)
	}
	if keep.Runs > 0 {
		r.Runs = now.Add(-keep.Runs)
	}
	if keep.Traces > 0 {
		r.Traces = now.Add(-keep.Traces)
	}
	byHand := host.ActorOf(ctx) != host.Ourselves && !dryRun
	err := s.store.Prune(ctx, r, func(table string, rows int64) {
		counts[table] += rows
		if !dryRun {
			s.metrics.Pruned(table, rows)
		}
	})
	if err == nil && keep.Runs > 0 {
		var n int64
		if n, err = s.store.PruneNotices(ctx, r.Runs, dryRun); n > 0 {
			counts["notices"] += n
			if !dryRun {
				s.metrics.Pruned("notices", n)
			}
		}
	}
	if err == nil && keep.Audit > 0 {
		var n int64
		if n, err = s.store.PruneAudit(ctx, now.Add(-keep.Audit), host.Ourselves, dryRun); n > 0 {
			counts["audit_entries"] = n
			if !dryRun {
				s.metrics.Pruned("audit_entries", n)
			}
		}
	}
	if byHand {
		err = errors.Join(err, s.store.Update(ctx, func(t *store.Tx) error {
			return s.audit(ctx, t, host.AuditRetentionRun, host.AuditObject{Kind: "retention", Name: "run"}, map[string]any{"rows": counts})
		}))
	}
	return counts, err
}

// pruneEvery is how often what has ended is pruned.
const pruneEvery = 6 * time.Hour

func (d *daemon) prune(ctx context.Context) error {
	counts, err := service{d}.Prune(ctx, false)
	if len(counts) > 0 {
		d.log.InfoContext(ctx, "what ended long ago was pruned", "rows", counts)
	}
	return errors.Join(err, d.notices.Forsake(ctx))
}

// mostEraseBlockers is how many requests are named that are in the way.
const mostEraseBlockers = 20

func (s service) EraseUser(ctx context.Context, idOrName string, force bool) (*api.Erasure, error) {
	var out *api.Erasure
	var given []*host.Authorization
	err := txStore{s.daemon}.update(ctx, func(t tx) error {
		out = nil
		u, err := findUser(ctx, t.Tx, idOrName)
		if err != nil {
			return err
		}
		open, err := t.Requests(ctx, store.RequestFilter{UserId: u.Id, States: openStates(), Limit: mostEraseBlockers})
		if err != nil {
			return err
		}
		var blockers []string
		for _, r := range open {
			if force && r.State == host.StateNew {
				if _, err := s.provision.Cancel(ctx, t, r.Id); err != nil {
					return err
				}
				continue
			}
			blockers = append(blockers, fmt.Sprintf("%s (%s in %s) is %s", r.Name(), r.Operation, r.AppName, r.State))
		}
		accounts, err := t.Accounts(ctx, store.AccountFilter{UserId: u.Id, Limit: 1000})
		if err != nil {
			return err
		}
		var left []string
		for _, a := range accounts {
			if a.DeletedDate != nil {
				continue
			}
			if a.Active && a.LinkState == host.Linked && !force {
				blockers = append(blockers, fmt.Sprintf("the account %s in %s is active", a.Name(), a.AppName))
				continue
			}
			left = append(left, fmt.Sprintf("%s still has the account: delete it there, or the next run of reconciliation finds it again", a.AppName))
		}
		if len(blockers) > 0 {
			return host.Errorf(host.Conflict, "%s can't be erased yet: %s   -> provost user delete %s, and wait until it is done", u.Username, strings.Join(blockers, "; "), u.Username)
		}
		if given, err = t.AuthorizationsOf(ctx, u.Id); err != nil {
			return err
		}
		e, err := t.Erase(ctx, u, host.ActorOf(ctx), time.Now())
		if err != nil {
			return err
		}
		if err := s.audit(ctx, t.Tx, host.AuditUserErase, auditUser(u.Id), map[string]any{"requests": e.Requests, "accounts": e.Accounts, "force": force}); err != nil {
			return err
		}
		out = &api.Erasure{UserId: e.UserId, Actor: e.Actor, CreatedDate: e.CreatedDate, Requests: e.Requests, Accounts: e.Accounts, Warnings: left}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if host.DryRunOf(ctx) == nil {
		for _, a := range given { // what is gone here must not stay good there
			if told, err := s.egress.Disown(ctx, a); err != nil || !told {
				out.Warnings = append(out.Warnings, "what the person had authorized for "+a.Credential+" is gone here, and its server could not be told: take the grant back there")
			}
		}
		if err := s.store.Scrub(ctx); err != nil {
			out.Warnings = append(out.Warnings, "the person is erased, but the file of the database still holds old pages: "+err.Error())
		}
	}
	return out, nil
}

func openStates() (open []host.RequestState) {
	for _, st := range host.RequestStates {
		if !st.Ended() {
			open = append(open, st)
		}
	}
	return open
}

func (s service) Erasures(ctx context.Context) (list []*api.Erasure, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		stored, err := t.Erasures(ctx, 1000)
		list = nil
		for _, e := range stored {
			list = append(list, &api.Erasure{UserId: e.UserId, Actor: e.Actor, CreatedDate: e.CreatedDate, Requests: e.Requests, Accounts: e.Accounts})
		}
		return err
	})
	return list, err
}

func newRetentionCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "retention", Short: "How long is kept what has ended"}
	var dry bool
	run := &cobra.Command{
		Use: "run", Short: "Prune what has ended longer ago than retention says; the daemon does it every six hours", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var counts map[string]int64
				if err := c.do(ctx, http.MethodPost, "/api/v1/retention/run", url.Values{"dry_run": {strconv.FormatBool(dry)}}, nil, &counts); err != nil {
					return err
				}
				var rows [][]string
				for _, table := range sortedKeys(counts) {
					rows = append(rows, []string{table, strconv.FormatInt(counts[table], 10)})
				}
				return term.Write(cmd.OutOrStdout(), s.output, counts, []string{"TABLE", "ROWS"}, rows)
			})
		},
	}
	run.Flags().BoolVar(&dry, "dry-run", false, "only count what would be pruned")
	cmd.AddCommand(run)
	return cmd
}

func newUserErase(s *session) *cobra.Command {
	var yes, force bool
	cmd := &cobra.Command{
		Use: "erase USER --yes", Short: "Remove all that is known of a person, for good", Args: cobra.ExactArgs(1),
		Long: `Removes all that is known of a person, for good: the record, the accounts, what
requests and logs hold. Counts stay, and that somebody was erased, when and by
whom (provost user erasures). It is refused while the person has an active
account or open requests. On SQLite the file is rewritten, so that no old page
holds it; changes wait meanwhile. Backups are yours to see to.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return host.Errorf(host.Usage, "this can't be undone: give --yes")
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var e api.Erasure
				if err := c.do(ctx, http.MethodPost, "/api/v1/users/"+url.PathEscape(args[0])+"/erase", url.Values{"force": {strconv.FormatBool(force)}}, nil, &e); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, e, nil, nil)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "erased, with %d accounts; %d requests are kept without content   -> provost user erasures\n", e.Accounts, e.Requests)
				for _, w := range e.Warnings {
					fmt.Fprintln(cmd.OutOrStdout(), "  "+oneLine(w))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&force, "force", false, "cancel what has not begun, and forget accounts that are still active")
	return cmd
}

func newUserErasures(s *session) *cobra.Command {
	cmd := newList(s, "List that people were erased, when and by whom", "/api/v1/erasures", []string{"ERASED", "BY", "REQUESTS", "ACCOUNTS"}, func(e api.Erasure) []string {
		return []string{e.CreatedDate.Local().Format(time.DateTime), e.Actor, strconv.FormatInt(e.Requests, 10), strconv.FormatInt(e.Accounts, 10)}
	})
	cmd.Use = "erasures"
	return cmd
}
