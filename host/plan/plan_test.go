package plan_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/plan"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is an engine over a real database, in which requests are only counted.
type world struct {
	t      *testing.T
	store  *store.Store
	engine *plan.Engine
	rules  *rules
	// fails is how many more requests are made before the transaction fails; -1
	// for never.
	fails int
}

type rules struct {
	*mapping.Mapping
	granted func(*host.User) bool
}

func (r *rules) Granted(u *host.User) (bool, error) { return r.granted(u), nil }

type worldTx struct {
	*store.Tx
	w *world
}

var errCut = errors.New("cut")

func (t worldTx) AddRequest(ctx context.Context, r *host.UserProvisioningRequest) error {
	if t.w.fails == 0 {
		return errCut
	}
	t.w.fails--
	r.Id, r.State, r.CreatedDate, r.ApprovalStatus = host.NewID(), host.StateNew, time.Now().UTC(), host.ApprovalNotRequired
	return t.InsertRequest(ctx, r)
}

func (t worldTx) Accept(context.Context, *host.User, *host.UserProvAccount) error { return nil }

func (t worldTx) Disable(ctx context.Context, u *host.User) error {
	u.IsActive = false
	return t.PutUser(ctx, u)
}
func (t worldTx) Enqueue(context.Context, string, string, time.Time) error { return nil }
func (t worldTx) CompleteJob(context.Context) error                        { return nil }

func (w *world) Update(ctx context.Context, fn func(plan.Tx) error) error {
	return w.store.Update(ctx, func(t *store.Tx) error { return fn(worldTx{t, w}) })
}

func (w *world) View(ctx context.Context, fn func(plan.Tx) error) error {
	return w.store.View(ctx, func(t *store.Tx) error { return fn(worldTx{t, w}) })
}

// each runs a test on each database, in an app with people linked to accounts
// (p0, p1, …), people without one (n0, …), and accounts of nobody (o0, …).
func each(t *testing.T, linked, missing, orphaned int, policy host.ReconcilePolicy, fn func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		m, err := mapping.Compile([]string{"userName = user.Username", "title = user.Title"}, nil)
		require.NoError(t, err)
		w := &world{t: t, store: s, rules: &rules{m, func(*host.User) bool { return true }}, fails: -1}
		w.engine = plan.New(plan.Options{Store: w, Rules: func(string) (plan.Rules, error) { return w.rules, nil }})
		require.NoError(t, s.Update(t.Context(), func(tx *store.Tx) error {
			app := &host.ConnectedApp{Name: "acme"}
			if err := tx.PutApp(t.Context(), app); err != nil {
				return err
			}
			if err := tx.PutConfig(t.Context(), &host.UserProvisioningConfig{AppName: "acme", Enabled: true, Mode: host.Live, Reconcile: policy, EnabledOperations: host.EnabledOperations}); err != nil {
				return err
			}
			for i := range linked + missing {
				u := &host.User{User: pdk.User{Id: host.NewID(), Username: fmt.Sprintf("p%d", i), IsActive: true}}
				if i >= linked {
					u.Username = fmt.Sprintf("n%d", i-linked)
				}
				if err := tx.PutUser(t.Context(), u); err != nil {
					return err
				}
				if i < linked {
					if err := tx.PutAccount(t.Context(), account(app, u.Username, u.Id)); err != nil {
						return err
					}
				}
			}
			for i := range orphaned {
				if err := tx.PutAccount(t.Context(), account(app, fmt.Sprintf("o%d", i), "")); err != nil {
					return err
				}
			}
			return nil
		}))
		fn(t, w)
	})
}

func account(app *host.ConnectedApp, name, userID string) *host.UserProvAccount {
	a := &host.UserProvAccount{Id: host.NewID(), AppName: "acme", ConnectedAppId: app.Id, ExternalUserId: "x-" + name, ExternalUsername: name,
		UserId: userID, LinkState: host.Linked, Active: true, Attributes: map[string]any{"userName": name}}
	if userID == "" {
		a.LinkState = host.Orphaned
	}
	return a
}

func (w *world) start(o plan.ProcessOptions) *host.Plan {
	w.t.Helper()
	var p *host.Plan
	require.NoError(w.t, w.Update(w.t.Context(), func(tx plan.Tx) (err error) {
		p, err = w.engine.Start(host.WithActor(w.t.Context(), "grace"), tx, "acme", o)
		return err
	}))
	return w.work(p)
}

func (w *world) work(p *host.Plan) *host.Plan {
	w.t.Helper()
	require.NoError(w.t, w.engine.Work(w.t.Context(), p.Id))
	return w.plan(p.Id)
}

func (w *world) plan(id string) (p *host.Plan) {
	w.t.Helper()
	require.NoError(w.t, w.View(w.t.Context(), func(tx plan.Tx) (err error) { p, err = tx.Plan(w.t.Context(), id); return err }))
	return p
}

func (w *world) allow(id string) (p *host.Plan) {
	w.t.Helper()
	require.NoError(w.t, w.Update(w.t.Context(), func(tx plan.Tx) (err error) {
		p, err = w.engine.Allow(host.WithActor(w.t.Context(), "ada"), tx, id, "seen")
		return err
	}))
	return p
}

// requests counts the requests by operation.
func (w *world) requests() map[host.Operation]int {
	w.t.Helper()
	n := map[host.Operation]int{}
	require.NoError(w.t, w.store.View(w.t.Context(), func(tx *store.Tx) error {
		list, err := tx.Requests(w.t.Context(), store.RequestFilter{Limit: 100_000})
		for _, r := range list {
			n[r.Operation]++
		}
		return err
	}))
	return n
}

var strict = host.ReconcilePolicy{Missing: "create", Orphaned: "deactivate", Unassigned: "nothing", Drift: "nothing",
	Thresholds: host.Thresholds{Deactivate: host.Threshold{Set: true, Share: true, Percent: 10}, Delete: host.Threshold{Set: true, Count: 3}, Smallest: 10}}

func TestAPlanWithinTheThresholdsBecomesRequestsEachOnce(t *testing.T) {
	each(t, 1200, 700, 5, strict, func(t *testing.T, w *world) {
		var p *host.Plan
		require.NoError(t, w.Update(t.Context(), func(tx plan.Tx) (err error) {
			p, err = w.engine.Start(t.Context(), tx, "acme", plan.ProcessOptions{})
			return err
		}))
		cuts := 0
		for w.fails = 37; ; w.fails = 90 + cuts*53 {
			err := w.engine.Work(t.Context(), p.Id)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errCut)
			cuts++
		}
		require.Greater(t, cuts, 2)
		p = w.plan(p.Id)
		require.Equal(t, host.PlanDone, p.State)
		require.Equal(t, map[string]int64{"Create": 700, "Deactivate": 5}, p.Counts)
		require.EqualValues(t, 705, p.Made)
		require.Equal(t, map[host.Operation]int{host.Create: 700, host.Deactivate: 5}, w.requests())
	})
}

func TestAPlanThatPassesAThresholdStopsBeforeTheFirstChange(t *testing.T) {
	each(t, 60, 20, 30, strict, func(t *testing.T, w *world) {
		p := w.start(plan.ProcessOptions{})
		require.Equal(t, host.PlanQuarantined, p.State)
		require.Equal(t, "would deactivate 30 of 60 (50 %); the threshold is 10%", p.Reason)
		require.Empty(t, w.requests(), "not even what is harmless")

		require.Equal(t, host.PlanReleased, w.allow(p.Id).State)
		p = w.work(p)
		require.Equal(t, host.PlanDone, p.State)
		require.Equal(t, "ada", p.DecidedBy)
		require.Equal(t, map[host.Operation]int{host.Create: 20, host.Deactivate: 30}, w.requests())
	})
}

func TestAPlanIsDoneExactlyAsItWasShownOrNotAtAll(t *testing.T) {
	changes := map[string]func(tx *store.Tx) error{
		"a person without an account got another title": func(tx *store.Tx) error {
			u, err := tx.UserByUsername(context.Background(), "n3")
			if err != nil {
				return err
			}
			u.Title = "Countess"
			return tx.PutUser(context.Background(), u)
		},
		"a person was disabled": func(tx *store.Tx) error {
			u, err := tx.UserByUsername(context.Background(), "n3")
			if err != nil {
				return err
			}
			u.IsActive = false
			return tx.PutUser(context.Background(), u)
		},
		"an account of nobody got an owner": func(tx *store.Tx) error {
			a, err := tx.AccountByExternalId(context.Background(), "acme", "x-o1")
			if err != nil {
				return err
			}
			u, err := tx.UserByUsername(context.Background(), "n1")
			if err != nil {
				return err
			}
			a.UserId, a.LinkState = u.Id, host.Linked
			return tx.PutAccount(context.Background(), a)
		},
		"an account was ignored": func(tx *store.Tx) error {
			a, err := tx.AccountByExternalId(context.Background(), "acme", "x-o1")
			if err != nil {
				return err
			}
			a.LinkState = host.Ignored
			return tx.PutAccount(context.Background(), a)
		},
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			each(t, 60, 20, 5, strict, func(t *testing.T, w *world) {
				p := w.start(plan.ProcessOptions{DryRun: true})
				require.Equal(t, host.PlanPlanned, p.State)
				require.Empty(t, w.requests())
				require.NoError(t, w.store.Update(t.Context(), change))
				p = w.allow(p.Id)
				require.Equal(t, host.PlanStale, p.State)
				require.Regexp(t, "(n3|n1|o1) is not what it was", p.Reason)
				require.Empty(t, w.requests())
			})
		})
	}
}

func TestADigestIsOfTheSetThatIsShown(t *testing.T) {
	each(t, 20, 10, 5, strict, func(t *testing.T, w *world) {
		p := w.start(plan.ProcessOptions{DryRun: true})
		var list []*host.PlannedChange
		require.NoError(t, w.View(t.Context(), func(tx plan.Tx) (err error) { list, err = tx.Changes(t.Context(), p.Id, 0, 100); return err }))
		require.Equal(t, p.Digest, plan.Digest(list), "as it was stored")
		require.Equal(t, p.Digest, w.start(plan.ProcessOptions{DryRun: true}).Digest, "made again of the same world")
		for i := range list {
			less := append(append([]*host.PlannedChange{}, list[:i]...), list[i+1:]...)
			require.NotEqual(t, p.Digest, plan.Digest(less))
		}
		list[0].Differences[0].Want = "mallory"
		require.NotEqual(t, p.Digest, plan.Digest(list))
	})
}

func TestNothingIsReleasedInPreview(t *testing.T) {
	each(t, 20, 10, 0, strict, func(t *testing.T, w *world) {
		require.NoError(t, w.store.Update(t.Context(), func(tx *store.Tx) error {
			c, err := tx.Config(t.Context(), "acme")
			if err != nil {
				return err
			}
			c.Mode = host.Preview
			return tx.PutConfig(t.Context(), c)
		}))
		p := w.start(plan.ProcessOptions{})
		require.Equal(t, host.PlanPlanned, p.State)
		err := w.Update(t.Context(), func(tx plan.Tx) error { _, err := w.engine.Allow(t.Context(), tx, p.Id, ""); return err })
		require.Equal(t, host.Conflict, host.CodeOf(err))
		require.ErrorContains(t, err, "mode: live")
	})
}

func TestNoMoreThanAThresholdGoesWithoutAPerson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		accounts := rapid.Int64Range(0, 10_000).Draw(t, "accounts")
		off, frozen, gone := rapid.Int64Range(0, 200).Draw(t, "off"), rapid.Int64Range(0, 50).Draw(t, "frozen"), rapid.Int64Range(0, 200).Draw(t, "gone")
		limits := host.Thresholds{Smallest: rapid.Int64Range(0, 50).Draw(t, "smallest"),
			Deactivate: host.Threshold{Set: rapid.Bool().Draw(t, "set"), Share: true, Percent: float64(rapid.IntRange(0, 100).Draw(t, "percent"))},
			Delete:     host.Threshold{Set: true, Count: rapid.Int64Range(0, 100).Draw(t, "count")}}
		why := plan.Exceeds(limits, map[string]int64{"Deactivate": off, "Freeze": frozen, "Delete": gone, "Create": 9999}, accounts)
		n := off + frozen
		tooMany := limits.Deactivate.Set && n > limits.Smallest && float64(n)*100 > limits.Deactivate.Percent*float64(max(1, accounts))
		if (why != "") != (tooMany || gone > limits.Delete.Count) {
			t.Fatalf("%+v with %d of %d, %d deleted: %q", limits, n, accounts, gone, why)
		}
	})
}
