package provision_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/pdk"
)

// bounds gives all apps one target.
func (w *world) bounds(l provision.TargetLimits) {
	l.Name = "Acme_SCIM"
	w.limits = func(app *host.UserProvisioningConfig) []provision.TargetLimits { return []provision.TargetLimits{l} }
}

// sweeps works jobs and sweeps once a second for a time.
func (w *world) sweeps(d time.Duration) {
	w.t.Helper()
	for end := w.clock().Add(d); w.clock().Before(end); {
		require.NoError(w.t, w.engine.Sweep(w.t.Context()))
		w.run()
		w.pass(time.Second)
	}
}

func (w *world) targetState() (s *host.TargetState) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		s, err = tx.TargetState(ctx, "Acme_SCIM", false)
		return err
	})
	return s
}

func TestATargetThatIsDownForADayCostsNoRequestItsLife(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.MaxAttempts = 2 })
		w.bounds(provision.TargetLimits{Apps: []string{"acme"}, Failures: 3, Rest: 30 * time.Second})
		w.target.down = func(pdk.Input) bool { return true }
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("user%02d", i))
			w.user(names[i], []string{"acme"})
		}
		w.sweeps(time.Minute)
		calls := len(w.target.done())
		require.Less(t, calls, 10, "it is left alone")
		require.Equal(t, host.BreakerOpen, w.targetState().Breaker(w.clock()))
		for range 24 {
			w.pass(time.Hour)
			w.sweeps(3 * time.Second)
		}
		require.Less(t, len(w.target.done())-calls, 60, "one asks now and then")
		for _, r := range w.requests() {
			require.False(t, r.State.Ended(), "%s: %s", r.State, r.ErrorMessage)
		}
		late := w.user("late", []string{"acme"})
		w.target.down = nil
		n := len(w.target.done())
		w.pass(time.Hour)
		w.sweeps(5 * time.Second)
		require.Equal(t, host.BreakerClosed, w.targetState().Breaker(w.clock()))
		require.Equal(t, append([]string{"late"}, names...), w.target.names())
		order := w.target.done()[n:]
		require.Len(t, order, 41)
		require.Contains(t, order[len(order)-1], "late", "in their order: %v", order)
		require.NotNil(t, w.account(late.Id, "acme"))
		require.Zero(t, w.jobs())
	})
}

func TestAPoisonRequestStopsWhileTheOthersGoOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.MaxAttempts = 3 })
		w.bounds(provision.TargetLimits{Apps: []string{"acme"}, Failures: 5, Rest: 30 * time.Second})
		w.target.down = func(in pdk.Input) bool { return in.User.Username == "poison" }
		w.user("poison", []string{"acme"})
		for i := range 60 {
			w.user(fmt.Sprintf("user%02d", i), []string{"acme"})
			w.sweeps(3 * time.Second)
		}
		r := w.requests()[0]
		require.Equal(t, host.StateFailed, r.State)
		require.Equal(t, 3, r.Failures)
		log := w.logs(r.Id)
		require.Contains(t, log[len(log)-1].Details, "a person must look")
		require.Len(t, w.target.names(), 60)
	})
}

func TestRetryAfterIsHonouredForTheCredentialAndNotForTheJob(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.app("other")
		w.bounds(provision.TargetLimits{Apps: []string{"acme", "other"}, Failures: 5, Rest: 30 * time.Second})
		slow := host.Errorf(host.RateLimited, "too many")
		slow.RetryAfter = time.Minute
		w.target.next(pdk.OpCreate, reply{err: slow, status: 429})
		for i := range 5 {
			w.user(fmt.Sprintf("user%d", i), []string{[]string{"acme", "other"}[i%2]})
		}
		w.sweeps(59 * time.Second)
		require.Len(t, w.target.done(), 1, "nobody asks before the time, of either app")
		w.sweeps(3 * time.Second)
		require.Len(t, w.target.names(), 5)
		require.Equal(t, 0, w.requests()[0].Failures)
	})
}

func TestTheRateBoundsAllWorkersTogether(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.bounds(provision.TargetLimits{Apps: []string{"acme"}, PerSecond: 5})
		for i := range 50 {
			w.user(fmt.Sprintf("user%02d", i), []string{"acme"})
		}
		began := w.clock()
		for len(w.target.names()) < 50 {
			require.NoError(t, w.engine.Sweep(t.Context()))
			w.step()
			w.pass(200 * time.Millisecond)
			require.Less(t, w.clock().Sub(began), time.Minute)
		}
		require.GreaterOrEqual(t, w.clock().Sub(began), 9*time.Second, "50 at 5/s")
	})
}

func TestConcurrencyBoundsTheAttemptsUnderWay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.bounds(provision.TargetLimits{Apps: []string{"acme"}, Concurrency: 1})
		deepest, depth, begun := 0, 0, map[string]bool{}
		w.target.before = func(pdk.Operation, pdk.Input) {
			depth++
			deepest = max(deepest, depth)
			for _, j := range w.dueJobs() { // other workers, meanwhile
				if !begun[j.request] {
					begun[j.request] = true
					require.NoError(t, w.engine.Work(context.WithValue(t.Context(), harnessJob{}, j.id), j.request))
				}
			}
			depth--
		}
		for i := range 10 {
			w.user(fmt.Sprintf("user%02d", i), []string{"acme"})
		}
		begun[w.requests()[0].Id] = true
		w.run()
		require.Greater(t, len(begun), 5, "others have tried")
		require.Equal(t, 1, deepest)
		require.Len(t, w.target.names(), 10, "each end lets the next go on, without a sweep")
	})
}

func TestARequestThatAPersonWaitsForOvertakesThoseThatWait(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.bounds(provision.TargetLimits{Apps: []string{"acme"}, Failures: 1, Rest: time.Minute})
		w.target.down = func(pdk.Input) bool { return true }
		for i := range 10 {
			w.user(fmt.Sprintf("user%02d", i), []string{"acme"})
		}
		u := w.user("urgent", nil)
		w.sweeps(2 * time.Second)
		w.do(func(ctx context.Context, tx harnessTx) error {
			_, err := w.engine.CreateRequest(ctx, tx, u.Id, "acme", host.Create)
			return err
		})
		w.sweeps(2 * time.Second)
		w.target.down = nil
		n := len(w.target.done())
		w.pass(time.Minute)
		w.sweeps(2 * time.Second)
		require.Equal(t, "create urgent", w.target.done()[n])
	})
}

type dueJob struct{ id, request string }

func (w *world) dueJobs() (list []dueJob) {
	w.t.Helper()
	rows, err := w.store.DB().QueryContext(w.t.Context(), fmt.Sprintf("SELECT id, request_id FROM harness_jobs WHERE due <= %d ORDER BY due, id", w.clock().UnixNano()))
	require.NoError(w.t, err)
	defer rows.Close()
	for rows.Next() {
		var j dueJob
		require.NoError(w.t, rows.Scan(&j.id, &j.request))
		list = append(list, j)
	}
	require.NoError(w.t, rows.Err())
	return list
}

func TestRequestsOfAConnectorInQuarantineWaitAndGoOnUnharmed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.MaxAttempts = 1 })
		held := "connector acme is in quarantine: 3 calls trapped"
		w.limits = func(app *host.UserProvisioningConfig) []provision.TargetLimits {
			if held == "" {
				return nil
			}
			return []provision.TargetLimits{{Name: host.ConnectorTarget("acme"), Apps: []string{"acme"}, Held: held}}
		}
		u := w.user("ada", []string{"acme"})
		w.sweeps(time.Minute)
		require.Empty(t, w.target.done())
		r := w.requests()[0]
		require.Equal(t, host.StateNew, r.State)
		require.Equal(t, "connector:acme", r.WaitsFor)
		require.Zero(t, r.Failures)
		require.Contains(t, w.logs(r.Id)[len(w.logs(r.Id))-1].Details, held)
		held = ""
		w.sweeps(3 * time.Second)
		require.Equal(t, host.StateCompleted, w.request(r.Id).State)
		require.NotNil(t, w.account(u.Id, "acme"))
	})
}
