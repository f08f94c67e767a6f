package queue_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/queue"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is a database and the queues of its processes.
type world struct {
	t   *testing.T
	s   *store.Store
	url string
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, url string) {
		before := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, before) })
		s, err := store.Open(t.Context(), url, store.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		fn(t, &world{t, s, url})
	})
}

// queue makes a process's queue; start begins its work, which ends with the
// test.
func (w *world) queue(workers int, work func(context.Context, *queue.Queue, queue.Job) error) *queue.Queue {
	w.t.Helper()
	var q *queue.Queue
	var err error
	q, err = queue.New(w.t.Context(), w.s.DB(), w.s.Dialect(), w.url, queue.Options{Workers: workers, ReconcileWorkers: 1, InsertOnly: work == nil},
		func(ctx context.Context, j queue.Job) error { return work(ctx, q, j) })
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(w.t, q.Stop(ctx))
	})
	return q
}

func (w *world) start(q *queue.Queue) {
	w.t.Helper()
	require.NoError(w.t, q.Start(w.t.Context()))
}

func (w *world) enqueue(q *queue.Queue, kind string, ids ...string) {
	w.t.Helper()
	require.NoError(w.t, w.s.Update(w.t.Context(), func(tx *store.Tx) error {
		var list []queue.Entry
		for _, id := range ids {
			list = append(list, queue.Entry{Job: queue.Job{Kind: kind, RequestID: id}})
		}
		return q.Enqueue(w.t.Context(), tx.SQL(), list...)
	}))
}

func (w *world) depth(q *queue.Queue, kind string) (n int64) {
	w.t.Helper()
	require.NoError(w.t, w.s.View(w.t.Context(), func(tx *store.Tx) error {
		all, err := q.Depth(w.t.Context(), tx.SQL())
		n = all[kind]
		return err
	}))
	return n
}

// complete ends a job as the engines do.
func (w *world) complete(ctx context.Context, q *queue.Queue) error {
	return w.s.Update(ctx, func(tx *store.Tx) error { return q.Complete(ctx, tx.SQL()) })
}

// next waits for the next that c gives.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		require.FailNow(t, "nothing comes")
		panic("unreachable")
	}
}

func TestAJobIsThereWithItsTransactionAndEndsWithOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		worked := make(chan string, 10)
		cut := errors.New("cut off")
		var once sync.Once
		q := w.queue(1, func(ctx context.Context, q *queue.Queue, j queue.Job) (err error) {
			worked <- j.Kind + " " + j.RequestID
			once.Do(func() {
				err = w.s.Update(ctx, func(tx *store.Tx) error { return errors.Join(q.Complete(ctx, tx.SQL()), cut) })
			})
			if err != nil {
				return err // its end was not stored
			}
			return w.complete(ctx, q)
		})
		w.start(q)
		require.ErrorIs(t, w.s.Update(t.Context(), func(tx *store.Tx) error {
			return errors.Join(q.Enqueue(t.Context(), tx.SQL(), queue.Entry{Job: queue.Job{Kind: queue.Provision, RequestID: "never"}}), cut)
		}), cut)
		w.enqueue(q, queue.Provision, "r1")
		require.Equal(t, "provision r1", next(t, worked))
		require.Equal(t, "provision r1", next(t, worked), "again, since its end was not stored")
		w.enqueue(q, queue.Plan, "p1")
		require.Equal(t, "plan p1", next(t, worked))
		require.Eventually(t, func() bool { return w.depth(q, queue.Provision)+w.depth(q, queue.Plan) == 0 }, time.Minute, time.Millisecond)
		require.Empty(t, worked)
	})
}

func TestAJobThatIsDueLaterWaitsForItsTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		worked := make(chan string, 10)
		q := w.queue(1, func(ctx context.Context, q *queue.Queue, j queue.Job) error {
			worked <- j.RequestID
			return w.complete(ctx, q)
		})
		w.start(q)
		require.NoError(t, w.s.Update(t.Context(), func(tx *store.Tx) error {
			return q.Enqueue(t.Context(), tx.SQL(), queue.Entry{Job: queue.Job{Kind: queue.Provision, RequestID: "tomorrow"}, At: time.Now().Add(24 * time.Hour)})
		}))
		w.enqueue(q, queue.Provision, "now")
		require.Equal(t, "now", next(t, worked))
		require.Eventually(t, func() bool { return w.depth(q, queue.Provision) == 1 }, time.Minute, time.Millisecond)
		require.Empty(t, worked)
	})
}

// One worker is busy and a hundred requests wait for it: what a person waits
// for, runs and plans go on all the same.
func TestWhatAPersonWaitsForOvertakesTheBulk(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		worked, held := make(chan string, 200), make(chan struct{})
		q := w.queue(1, func(ctx context.Context, q *queue.Queue, j queue.Job) error {
			worked <- j.Kind
			if j.Kind == queue.Provision {
				<-held
			}
			return w.complete(ctx, q)
		})
		ids := make([]string, 100)
		for i := range ids {
			ids[i] = fmt.Sprint("r", i)
		}
		w.enqueue(q, queue.Provision, ids...)
		w.start(q)
		require.Equal(t, queue.Provision, next(t, worked))
		for _, kind := range []string{queue.Urgent, queue.Reconcile, queue.Plan} {
			w.enqueue(q, kind, "x")
			require.Equal(t, kind, next(t, worked))
		}
		close(held)
		for range len(ids) - 1 {
			require.Equal(t, queue.Provision, next(t, worked))
		}
	})
}

// What a dead process left running is given to who is alive; what a living one
// works on is not.
func TestTheJobsOfADeadProcessAreGivenBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		insert := w.queue(1, nil)
		w.enqueue(insert, queue.Provision, "left")
		dead := `["dead"]`
		if w.s.Dialect() == "postgres" {
			dead = "{dead}"
		}
		_, err := w.s.DB().Exec("UPDATE river_job SET state = 'running', attempt = 1, attempted_at = created_at, attempted_by = '" + dead + "'")
		require.NoError(t, err)
		worked, held := make(chan string, 10), make(chan struct{})
		first := w.queue(1, func(ctx context.Context, q *queue.Queue, j queue.Job) error {
			worked <- "first " + j.RequestID
			if j.RequestID == "held" {
				<-held
			}
			return w.complete(ctx, q)
		})
		w.start(first)
		require.Equal(t, "first left", next(t, worked))
		if w.s.Dialect() == "sqlite" {
			return // its file is of one process
		}
		w.enqueue(insert, queue.Provision, "held")
		require.Equal(t, "first held", next(t, worked))
		second := w.queue(1, func(ctx context.Context, q *queue.Queue, j queue.Job) error {
			worked <- "second " + j.RequestID
			return w.complete(ctx, q)
		})
		w.start(second) // which looks for the dead at once
		w.enqueue(insert, queue.Reconcile, "free")
		require.Contains(t, []string{"first free", "second free"}, next(t, worked))
		close(held)
		require.Eventually(t, func() bool { return w.depth(insert, queue.Provision) == 0 }, time.Minute, time.Millisecond)
		require.Empty(t, worked, "held was worked once")
	})
}

func TestStoppingWaitsForWhatIsUnderWayAndThenCutsItOff(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		worked := make(chan struct{})
		ended := make(chan error, 1)
		q := w.queue(1, func(ctx context.Context, _ *queue.Queue, _ queue.Job) error {
			close(worked)
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})
		w.start(q)
		w.enqueue(q, queue.Provision, "long")
		next(t, worked)
		over, cancel := context.WithCancel(context.Background())
		cancel() // no patience
		require.NoError(t, q.Stop(over))
		require.ErrorIs(t, next(t, ended), context.Canceled)
		require.EqualValues(t, 1, w.depth(q, queue.Provision), "it is not lost")
	})
}

func TestAQueueThatOnlyInsertsWorksNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		q := w.queue(1, nil)
		w.start(q)
		w.enqueue(q, queue.Urgent, "u1", "u2")
		require.EqualValues(t, 2, w.depth(q, queue.Urgent))
		require.Error(t, w.s.Update(t.Context(), func(tx *store.Tx) error { return q.Complete(t.Context(), tx.SQL()) }), "outside a job")
	})
}

func TestAWrongURLIsTheOperatorsMistake(t *testing.T) {
	db, err := sql.Open("pgx", "postgres://localhost/x")
	require.NoError(t, err)
	defer db.Close()
	_, err = queue.New(t.Context(), db, "postgres", "postgres://%zz", queue.Options{}, nil)
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
}
