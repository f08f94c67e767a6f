package pace_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/pace"
	"github.com/provosthq/provost/host/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted is the store of one machine, which may be cut off from it.
type counted struct {
	store.Pace
	writes *atomic.Int64
	gone   *atomic.Bool
}

func (c counted) ReserveTurns(ctx context.Context, target string, now, latest time.Time, interval time.Duration, n int) (time.Time, bool, error) {
	c.writes.Add(1)
	return c.Pace.ReserveTurns(ctx, target, now, latest, interval, n)
}

func (c counted) AcquireSlot(ctx context.Context, target, holder string, most int, now, until, wanted time.Time) (int, error) {
	c.writes.Add(1)
	return c.Pace.AcquireSlot(ctx, target, holder, most, now, until, wanted)
}

func (c counted) RenewSlots(ctx context.Context, target, holder string, now, until time.Time) ([]int, error) {
	if c.gone.Load() {
		return nil, host.Errorf(host.Unavailable, "no database")
	}
	c.writes.Add(1)
	return c.Pace.RenewSlots(ctx, target, holder, now, until)
}

func (c counted) ReleaseSlot(ctx context.Context, target, holder string, slot int) error {
	if c.gone.Load() {
		return host.Errorf(host.Unavailable, "no database")
	}
	c.writes.Add(1)
	return c.Pace.ReleaseSlot(ctx, target, holder, slot)
}

// world is some machines over one database, in a bubble whose time is fake.
type world struct {
	t        *testing.T
	machines []*pace.Pace
	stores   []counted

	mu            sync.Mutex
	began         []time.Time
	atOnce, worst int
	byMachine     []int
}

func in(t *testing.T, machines int, test func(t *testing.T, w *world)) {
	t.Helper()
	url := "sqlite://" + filepath.Join(t.TempDir(), "provost.db")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, byMachine: make([]int, machines)}
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		for range machines {
			one := counted{store.Pace{Store: s}, new(atomic.Int64), new(atomic.Bool)}
			w.stores = append(w.stores, one)
			p := pace.New(pace.Options{Store: one})
			defer p.Close()
			w.machines = append(w.machines, p)
		}
		test(t, w)
	})
}

// request is one request of a machine, which takes a while.
func (w *world) request(machine int, took time.Duration, limits ...pace.Limits) error {
	release, err := w.machines[machine].Take(w.t.Context(), limits)
	if err != nil {
		return err
	}
	defer release()
	w.mu.Lock()
	w.began = append(w.began, time.Now())
	w.byMachine[machine]++
	w.atOnce++
	w.worst = max(w.worst, w.atOnce)
	w.mu.Unlock()
	time.Sleep(took)
	w.mu.Lock()
	w.atOnce--
	w.mu.Unlock()
	return nil
}

// busiest is the most requests that began within any time so long.
func (w *world) busiest(d time.Duration) (most int) {
	slices.SortFunc(w.began, time.Time.Compare)
	first := 0
	for i, t := range w.began {
		for t.Sub(w.began[first]) >= d {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (w *world) writes() (n int64) {
	for _, s := range w.stores {
		n += s.writes.Load()
	}
	return n
}

func TestTheRequestsOfAllMachinesKeepTheRate(t *testing.T) {
	in(t, 3, func(t *testing.T, w *world) {
		limits := pace.Limits{Target: "Acme", PerSecond: 100}
		began := time.Now()
		var group sync.WaitGroup
		for i := range 12 {
			group.Go(func() {
				for range 50 {
					require.NoError(t, w.request(i%3, 10*time.Millisecond, limits))
				}
			})
		}
		group.Wait()
		took := time.Since(began)
		require.GreaterOrEqual(t, took, 5900*time.Millisecond, "600 at 100/s")
		require.Less(t, took, 9*time.Second, "and hardly any turn is lost")
		require.LessOrEqual(t, w.busiest(time.Second), 101)
		require.Less(t, w.writes(), int64(150), "turns are reserved some at a time, not 600 times")
		for _, n := range w.byMachine {
			require.Equal(t, 200, n)
		}
	})
}

func TestATurnThatIsNotUsedIsLostAndNeverABurst(t *testing.T) {
	in(t, 1, func(t *testing.T, w *world) {
		limits := pace.Limits{Target: "Acme", PerSecond: 50}
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { require.NoError(t, w.request(0, 0, limits)) })
		}
		group.Wait()
		time.Sleep(time.Hour)
		w.began = nil
		for range 20 {
			group.Go(func() { require.NoError(t, w.request(0, 0, limits)) })
		}
		group.Wait()
		require.LessOrEqual(t, w.busiest(100*time.Millisecond), 6)
	})
}

func TestARequestWhoseTurnWasTakenWithItsAttemptTakesNoOther(t *testing.T) {
	in(t, 1, func(t *testing.T, w *world) {
		limits := []pace.Limits{{Target: "Acme", PerSecond: 1}}
		ctx := host.WithTurn(t.Context())
		began := time.Now()
		release, err := w.machines[0].Take(ctx, limits)
		require.NoError(t, err)
		release()
		require.Zero(t, w.writes())
		for range 2 { // the others of the same attempt do
			release, err = w.machines[0].Take(ctx, limits)
			require.NoError(t, err)
			release()
		}
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestWhoWouldWaitTooLongIsToldSo(t *testing.T) {
	in(t, 1, func(t *testing.T, w *world) {
		limits := []pace.Limits{{Target: "Acme", PerSecond: 5.0 / 3600}}
		_, err := w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
		_, err = w.machines[0].Take(t.Context(), limits)
		var known *host.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, host.RateLimited, known.Code)
		require.Equal(t, 12*time.Minute, known.RetryAfter)
		require.Contains(t, known.Message, "limits.rate of Acme lets the next request go in 12m0s")
		// Who asks for nothing has taken no turn from those who come when it is time.
		time.Sleep(12 * time.Minute)
		_, err = w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
	})
}

func TestAllMachinesTogetherKeepTheConcurrencyAndTakeTurns(t *testing.T) {
	for _, most := range []int{1, 4} {
		in(t, 3, func(t *testing.T, w *world) {
			limits := pace.Limits{Target: "Acme", Concurrency: most}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			var group sync.WaitGroup
			for i := range 12 {
				group.Go(func() {
					for ctx.Err() == nil {
						require.NoError(t, w.request(i%3, 20*time.Millisecond, limits))
					}
				})
			}
			group.Wait()
			require.Equal(t, most, w.worst, "as many at once as may be, and no more")
			all := len(w.began)
			for _, n := range w.byMachine {
				require.Greater(t, n, all/10, "nobody goes without: %v", w.byMachine)
			}
			require.Greater(t, all, most*1000, "of %d that there was time for", most*3000)
			if most > 1 { // with one slot it changes hands all the time
				require.Less(t, w.writes(), int64(all/2))
			}
		})
	}
}

func TestOneMachineAloneWritesHardlyAnythingToKeepTheConcurrency(t *testing.T) {
	in(t, 2, func(t *testing.T, w *world) {
		limits := pace.Limits{Target: "Acme", Concurrency: 4}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 500 {
					require.NoError(t, w.request(0, 10*time.Millisecond, limits))
				}
			})
		}
		group.Wait()
		require.Equal(t, 4, w.worst)
		require.Less(t, w.writes(), int64(20), "for 4000 requests")
		time.Sleep(2 * time.Second)
		release, err := w.machines[1].Take(t.Context(), []pace.Limits{limits})
		require.NoError(t, err)
		release()
		require.Less(t, w.writes(), int64(30), "what nobody uses was given back")
	})
}

func TestTheSlotsOfAMachineThatDiedAreFreeWhenTheirLeaseIsOver(t *testing.T) {
	in(t, 2, func(t *testing.T, w *world) {
		limits := []pace.Limits{{Target: "Acme", Concurrency: 1}}
		release, err := w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
		w.stores[0].gone.Store(true)
		began := time.Now()
		other, err := w.machines[1].Take(t.Context(), limits)
		require.NoError(t, err)
		require.InDelta(t, 20, time.Since(began).Seconds(), 1)
		// The first is there after all: it does not use its slot again.
		w.stores[0].gone.Store(false)
		release()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = w.machines[0].Take(ctx, limits)
		require.Equal(t, host.Cancelled, host.CodeOf(err))
		other()
		release, err = w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
		release()
	})
}

func TestWhoStopsWaitingForASlotLeavesItToTheNext(t *testing.T) {
	in(t, 1, func(t *testing.T, w *world) {
		limits := []pace.Limits{{Target: "app:acme", Concurrency: 1}, {Target: "Acme", Concurrency: 2}}
		release, err := w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.machines[0].Take(ctx, limits)
		require.Equal(t, host.Cancelled, host.CodeOf(err))
		_, err = w.machines[0].Take(t.Context(), limits)
		require.Equal(t, host.RateLimited, host.CodeOf(err), "a minute is enough")
		release()
		for range 3 {
			release, err = w.machines[0].Take(t.Context(), limits)
			require.NoError(t, err)
			release()
		}
	})
}

func TestAMachineThatStopsGivesItsSlotsBack(t *testing.T) {
	in(t, 2, func(t *testing.T, w *world) {
		limits := []pace.Limits{{Target: "Acme", Concurrency: 1}}
		release, err := w.machines[0].Take(t.Context(), limits)
		require.NoError(t, err)
		release()
		w.machines[0].Close()
		began := time.Now()
		release, err = w.machines[1].Take(t.Context(), limits)
		require.NoError(t, err)
		release()
		require.Zero(t, time.Since(began))
	})
}
