package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
)

// stagedFlags choose accounts of a run.
type stagedFlags struct {
	state, query        string
	drifted, candidates bool
}

func (f *stagedFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.state, "state", "", "only linked, duplicate, orphaned or ignored ones")
	cmd.Flags().BoolVar(&f.drifted, "drifted", false, "only those whose values are not as the mapping wants them")
	cmd.Flags().StringVarP(&f.query, "query", "q", "", "how an id, a username or an e-mail begins, or all of one with * for anything")
}

func (f *stagedFlags) check() error {
	if f.state != "" && !slices.Contains(host.LinkStates, host.LinkState(f.state)) {
		return host.Errorf(host.Usage, "--state %s: there is linked, duplicate, orphaned and ignored", f.state)
	}
	return nil
}

func newReconcileReview(s *session) *cobra.Command {
	var f stagedFlags
	var missing, undecided, gone bool
	var limit int
	cmd := &cobra.Command{
		Use: "review REQUEST", Short: "Show what a run has found: whose each account is and why, who misses one, which are gone",
		Long: `Shows the accounts of a run that has been analyzed, before its commit: whose
each is and by which rule, the users that an account may belong to with their
scores, what has drifted. Nothing is guessed: what several users match waits for
a person, who says so with "reconcile link", "unlink" and "ignore". Look the
user up with "provost user list --where".`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			path := "/api/v1/requests/" + url.PathEscape(args[0])
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				switch {
				case missing || undecided:
					users, err := pages(limit, func(n int, last *host.User) (list []*host.User, err error) {
						q := url.Values{"limit": {strconv.Itoa(n)}, "undecided": {strconv.FormatBool(undecided)}}
						if last != nil {
							q.Set("after", last.Id)
						}
						return list, c.do(ctx, http.MethodGet, path+"/missing", q, nil, &list)
					})
					if err != nil {
						return err
					}
					return writeUsers(cmd.OutOrStdout(), s.output, users)
				case gone:
					accounts, err := pages(limit, func(n int, last account) (list []account, err error) {
						q := url.Values{"limit": {strconv.Itoa(n)}}
						if last.UserProvAccount != nil {
							q.Set("after", strconv.FormatInt(last.AfterNumber, 10))
						}
						return list, c.do(ctx, http.MethodGet, path+"/gone", q, nil, &list)
					})
					if err != nil {
						return err
					}
					return writeAccounts(cmd.OutOrStdout(), s.output, accounts)
				}
				list, err := pages(limit, func(n int, last *api.Staged) (list []*api.Staged, err error) {
					q := url.Values{"limit": {strconv.Itoa(n)}, "state": {f.state}, "query": {f.query}, "drifted": {strconv.FormatBool(f.drifted)}, "candidates": {strconv.FormatBool(f.candidates)}}
					if last != nil {
						q.Set("after", strconv.FormatInt(last.AfterNumber, 10))
					}
					return list, c.do(ctx, http.MethodGet, path+"/accounts", q, nil, &list)
				})
				if err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, a := range list {
					rows[i] = []string{a.ExternalUserId, a.ExternalUsername, string(a.LinkState), a.Username, strings.Join(slices.DeleteFunc([]string{a.LinkReason, candidatesText(a.Candidates)}, func(s string) bool { return s == "" }), ": "), driftText(a.Drift)}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"ID THERE", "USERNAME", "LINK", "USER", "WHY", "DRIFT"}, rows)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.candidates, "candidates", false, "only those that a person must decide about")
	cmd.Flags().BoolVar(&missing, "missing", false, "the users who should have an account and have none")
	cmd.Flags().BoolVar(&undecided, "undecided", false, "the users who may have one of the accounts: a person must say")
	cmd.Flags().BoolVar(&gone, "gone", false, "the linked accounts that the run did not find")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (default all)")
	cmd.MarkFlagsMutuallyExclusive("missing", "undecided", "gone")
	return cmd
}

// candidatesText shows users with how alike they are: ada 0.94, bob 0.91.
func candidatesText(list []host.Candidate) string {
	parts := make([]string, len(list))
	for i, c := range list {
		name := c.Username
		if name == "" {
			name = c.UserId
		}
		parts[i] = fmt.Sprintf("%s %.2f", name, c.Score)
	}
	return strings.Join(parts, ", ")
}

func newReconcileDecision(s *session, verb, short string) *cobra.Command {
	var f stagedFlags
	d := api.Decision{Verb: verb}
	use := verb + " REQUEST [ID]..."
	if verb == reconcile.Link {
		use = verb + " REQUEST [ID --user USER]"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			d.Accounts, d.State, d.Drifted, d.Query = args[1:], f.state, f.drifted, f.query
			chosen := f.state != "" || f.drifted || f.query != "" || d.All
			switch {
			case len(d.Accounts) > 0 && chosen:
				return host.Errorf(host.Usage, "name accounts or choose them with flags, not both")
			case verb == reconcile.Link && d.User == "" && !cmd.Flags().Changed("score"):
				return host.Errorf(host.Usage, "say whose it is with --user, or --score for the best candidate of each account   -> provost reconcile review %s --candidates", args[0])
			case len(d.Accounts) == 0 && !chosen && verb != reconcile.Link:
				return host.Errorf(host.Usage, "name the accounts, or choose them with --state, --drifted, --query or --all")
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var got api.Decided
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/review", nil, d, &got); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, got, nil, nil)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d accounts; %s   -> provost reconcile commit %s\n", verb, got.Accounts, summaryText(got.Request.Summary), got.Request.Name)
				return nil
			})
		},
	}
	f.add(cmd)
	if verb == reconcile.Link {
		cmd.Flags().StringVar(&d.User, "user", "", "whose the account is: id or username")
		cmd.Flags().Float64Var(&d.Score, "score", 0, "link each account to its best candidate, if that is alone and has at least this score (0 to 1)")
		cmd.MarkFlagsMutuallyExclusive("user", "score")
	}
	cmd.Flags().BoolVar(&d.All, "all", false, "all accounts of the run")
	return cmd
}

// summaryText shows what a run has found in one line.
func summaryText(summary map[string]int64) string {
	var parts []string
	for _, name := range []string{"linked", "duplicate", "orphaned", "ignored", "drifted", "gone", "missing", "undecided"} {
		if n := summary[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

func newAccountGet(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "get ACCOUNT", Short: "Show one account: whose it is or may be, its values in the target", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var a account
				if err := c.do(ctx, http.MethodGet, "/api/v1/accounts/"+url.PathEscape(args[0]), nil, nil, &a); err != nil {
					return err
				}
				if err := writeAccounts(cmd.OutOrStdout(), s.output, []account{a}); err != nil || s.output != "table" {
					return err
				}
				for _, candidate := range a.Candidates {
					fmt.Fprintf(cmd.OutOrStdout(), "may be %s's: %.2f by %s   -> provost account link %s --user %s\n", candidate.Username, candidate.Score, candidate.Rule, a.Name, candidate.Username)
				}
				return nil
			})
		},
	}
}

// analyzedRun finds the request of a run whose accounts can be looked at.
func analyzedRun(ctx context.Context, t *store.Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := findRequest(ctx, t, id)
	if err != nil {
		return nil, err
	}
	if r.Operation != host.Reconcile {
		return nil, host.Errorf(host.InvalidInput, "%s is a %s; only a run of a reconciliation has accounts to review", r.Name(), r.Operation)
	}
	if r.State != host.StateAnalyzed {
		return nil, host.Errorf(host.Conflict, "%s is %s; its accounts can be reviewed when it has been analyzed and until it is committed   -> provost account list --app %s", r.Name(), r.State, r.AppName)
	}
	return r, nil
}

// stagedBy chooses staged accounts by a query, to be looked at or decided about:
// what is decided about is what was shown.
func stagedBy(query string) (f host.StagingFilter) {
	begins, _, pattern := strings.Cut(query, "*")
	if f.Begins = begins; pattern {
		f.Query = query
	}
	return f
}

func (s service) Staged(ctx context.Context, id string, f api.StagedFilter) (shown []*api.Staged, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		shown = nil
		r, err := analyzedRun(ctx, t, id)
		if err != nil {
			return err
		}
		chosen := stagedBy(f.Query)
		chosen.RequestId, chosen.LinkState, chosen.Drifted, chosen.Candidates, chosen.After, chosen.Limit = r.Id, f.State, f.Drifted, f.Candidates, f.After, f.Limit
		list, err := t.StagedWhere(ctx, chosen)
		if err != nil {
			return err
		}
		var ids []string
		for _, a := range list {
			if a.UserId != "" {
				ids = append(ids, a.UserId)
			}
		}
		names, err := t.Usernames(ctx, ids)
		if err != nil {
			return err
		}
		for _, a := range list {
			shown = append(shown, &api.Staged{UserProvAccountStaging: a, Username: names[a.UserId], AfterNumber: a.Number})
			if err := nameCandidates(ctx, t, a.Candidates); err != nil {
				return err
			}
		}
		return nil
	})
	return shown, err
}

// nameCandidates fills the usernames of candidates.
func nameCandidates(ctx context.Context, t *store.Tx, list []host.Candidate) error {
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.UserId
	}
	names, err := t.Usernames(ctx, ids)
	for i := range list {
		list[i].Username = names[list[i].UserId]
	}
	return err
}

func (s service) Missing(ctx context.Context, id string, undecided bool, after string, limit int) (list []*host.User, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		list = nil
		r, err := analyzedRun(ctx, t, id)
		if err != nil {
			return err
		}
		f := reconcile.MissingOf(r)
		f.Undecided, f.After, f.Limit = undecided, after, limit
		ids, err := t.MissingUsers(ctx, f)
		if err != nil {
			return err
		}
		found, err := t.UsersById(ctx, ids)
		for _, id := range ids {
			if u := found[id]; u != nil {
				list = append(list, u)
			}
		}
		return err
	})
	return list, err
}

func (s service) Gone(ctx context.Context, id string, after int64, limit int) (list []*host.UserProvAccount, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		r, err := analyzedRun(ctx, t, id)
		if err != nil || !reconcile.Whole(r) {
			return err
		}
		f := reconcile.GoneOf(r)
		f.After, f.Limit = after, limit
		list, err = t.LinkedGone(ctx, f)
		return err
	})
	return list, err
}

func (s service) Decide(ctx context.Context, id string, d api.Decision) (*api.Decided, error) {
	got := &api.Decided{}
	if len(d.Accounts) == 0 && d.State == "" && !d.Drifted && d.Query == "" && !d.All && d.Verb != reconcile.Link {
		return nil, host.Errorf(host.InvalidInput, "name the accounts, or choose them by state, drifted, query or all")
	}
	details := map[string]any{"verb": d.Verb}
	r, err := s.actWith(ctx, host.AuditReconcileDecide, details, id, func(t tx, id string) (r *host.UserProvisioningRequest, err error) {
		got.Undo = host.NewID()
		decision := reconcile.Decision{Id: got.Undo, Verb: d.Verb, Accounts: d.Accounts, Score: d.Score, Filter: stagedBy(d.Query)}
		decision.Filter.LinkState, decision.Filter.Drifted = host.LinkState(d.State), d.Drifted
		if d.User != "" {
			u, err := findUser(ctx, t.Tx, d.User)
			if err != nil {
				return nil, err
			}
			decision.UserId = u.Id
		}
		r, got.Accounts, err = s.reconcile.Decide(ctx, t, id, decision)
		details["accounts"], details["user"], details["score"], details["all"], details["state"] = got.Accounts, decision.UserId, d.Score, d.All, d.State
		return r, err
	})
	got.Request = api.Named(r)
	return got, err
}

func (s service) UndoDecide(ctx context.Context, id, undo string) (*api.Decided, error) {
	got, details := &api.Decided{}, map[string]any{"verb": "undo"}
	r, err := s.actWith(ctx, host.AuditReconcileDecide, details, id, func(t tx, id string) (r *host.UserProvisioningRequest, err error) {
		r, got.Accounts, err = s.reconcile.Undo(ctx, t, id, undo)
		details["accounts"] = got.Accounts
		return r, err
	})
	got.Request = api.Named(r)
	return got, err
}

func (s service) Account(ctx context.Context, id string) (a *host.UserProvAccount, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		if a, err = findAccount(ctx, t, id); err != nil {
			return err
		}
		return nameCandidates(ctx, t, a.Candidates)
	})
	return a, err
}

// UsersWhere is the model's Look Up User step: by any field of the model or of
// the organisation's own.
func (s service) UsersWhere(ctx context.Context, where, after string, limit int) ([]*host.User, error) {
	scope, err := mapping.CompileScope(where)
	if err != nil {
		return nil, &host.Error{Code: host.InvalidInput, Field: "where", Message: err.Error()}
	}
	const page = 1000
	var found []*host.User
	for len(found) < limit {
		var list []*host.User
		if err := s.store.View(ctx, func(t *store.Tx) error { list, err = t.UsersAfter(ctx, after, page); return err }); err != nil {
			return nil, err
		}
		for _, u := range list {
			after = u.Id
			holds, err := scope.Holds(u)
			if err != nil {
				return nil, &host.Error{Code: host.InvalidInput, Field: "where", Message: err.Error()}
			}
			if holds {
				if found = append(found, u); len(found) == limit {
					break
				}
			}
		}
		if len(list) < page {
			break
		}
	}
	return found, nil
}
