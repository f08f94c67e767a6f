// Package queue runs the host's durable jobs on River. A job is one attempt at
// one request; it is inserted and completed in the transactions of the
// engines. A job that a dead process left running is given back when that
// process's lease has run out.
package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"

	"github.com/provosthq/provost/host"
)

// The kinds of job, each with a queue of its own, so that a long reconcile
// keeps no request waiting.
const (
	Provision = "provision"
	// Urgent is for requests that a person waits for: they overtake the bulk.
	Urgent    = "urgent"
	Reconcile = "reconcile"
	Plan      = "plan"
)

// Job is one attempt at a request.
type Job struct {
	Kind      string
	RequestID string
}

// args is a Job as River stores it.
type args struct {
	RequestID string `json:"requestId"`
	Queue     string `json:"kind"`
}

func (args) Kind() string { return "request" }

// Options are for [New].
type Options struct {
	// Workers and ReconcileWorkers are how many jobs run at once.
	Workers, ReconcileWorkers int
	Logger                    *slog.Logger
	// InsertOnly makes a queue that works no jobs.
	InsertOnly bool
}

// Queue is the jobs of one database, and the workers of this process.
type Queue struct {
	client   *river.Client[*sql.Tx]
	db       *sql.DB
	dialect  string
	id       string
	log      *slog.Logger
	listener *pgxpool.Pool
	complete func(ctx context.Context, tx *sql.Tx, job *river.Job[args]) error
	stop     context.CancelFunc
	beating  sync.WaitGroup
	working  bool
}

const (
	leaseTime = 8 * time.Second
	beatEvery = 2 * time.Second
	// mostAttempts is for attempts that could not store their end; those that
	// could are new jobs.
	mostAttempts = 30_000
	// urgentWorkers are beside Options.Workers: they stand still most of the time.
	urgentWorkers = 2
	// fetchedAhead: so many times more jobs are fetched than are worked on, since
	// one fetch costs as much for many as for one.
	fetchedAhead = 4
)

// New makes a queue over the database that the store has opened. url is that
// of a PostgreSQL database, for its notifications.
func New(ctx context.Context, db *sql.DB, dialect, url string, o Options, work func(context.Context, Job) error) (*Queue, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queue{db: db, dialect: dialect, id: host.NewID(), log: o.Logger}
	config := &river.Config{
		ID:                          q.id,
		Logger:                      slog.New(atLeast{o.Logger.Handler(), slog.LevelWarn}),
		JobTimeout:                  -1,
		MaxAttempts:                 mostAttempts,
		CompletedJobRetentionPeriod: 10 * time.Minute,
		RescueStuckJobsAfter:        24 * 365 * time.Hour, // leases do that, sooner
		RetryPolicy:                 retryPolicy{},
		FetchCooldown:               2 * time.Millisecond,
		FetchPollInterval:           time.Second,
	}
	if !o.InsertOnly {
		q.working = true
		workers := max(1, o.Workers)
		turns := make(chan struct{}, workers)
		config.Queues = map[string]river.QueueConfig{Provision: {MaxWorkers: fetchedAhead * workers, FetchCooldown: 10 * time.Millisecond}, Urgent: {MaxWorkers: urgentWorkers}, Reconcile: {MaxWorkers: max(1, o.ReconcileWorkers)}, Plan: {MaxWorkers: 1}}
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, river.WorkFunc(func(ctx context.Context, job *river.Job[args]) error {
			if job.Args.Queue == Provision {
				select {
				case turns <- struct{}{}:
					defer func() { <-turns }()
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return work(context.WithValue(ctx, jobKey{}, job), Job{job.Args.Queue, job.Args.RequestID})
		}))
	}
	var err error
	if dialect == "sqlite" {
		config.FetchPollInterval = 50 * time.Millisecond // nobody notifies
		q.complete = completeWith[*riversqlite.Driver]
		q.client, err = river.NewClient(riversqlite.New(db), config)
		return q, err
	}
	poolConfig, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "database.url is no PostgreSQL URL")
	}
	poolConfig.MinConns, poolConfig.MaxConns = 0, 1
	if q.listener, err = pgxpool.NewWithConfig(ctx, poolConfig); err != nil {
		return nil, err
	}
	q.complete = completeWith[*riverdatabasesql.Driver]
	q.client, err = river.NewClient(riverdatabasesql.NewWithPgxListener(db, q.listener), config)
	return q, err
}

type jobKey struct{}

func completeWith[D riverdriver.Driver[*sql.Tx]](ctx context.Context, tx *sql.Tx, job *river.Job[args]) error {
	_, err := river.JobCompleteTx[D](ctx, tx, job)
	return err
}

// Start begins to work jobs.
func (q *Queue) Start(ctx context.Context) error {
	if !q.working {
		return nil
	}
	if q.dialect == "sqlite" {
		// The file is ours alone: whatever is running was left by the dead.
		if err := q.giveBack(ctx, "SELECT id FROM river_job WHERE state = 'running'"); err != nil {
			return err
		}
	} else if err := q.beat(ctx); err != nil {
		return err
	}
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if q.dialect == "sqlite" {
		return nil
	}
	beatCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	q.stop = stop
	q.beating.Add(1)
	go func() {
		defer q.beating.Done()
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-beatCtx.Done():
				return
			case <-tick.C:
				if err := q.beat(beatCtx); err != nil && beatCtx.Err() == nil {
					q.log.Warn("the lease can't be renewed", "error", err)
				}
			}
		}
	}()
	return nil
}

// beat renews this process's lease and gives back the jobs of processes whose
// lease has run out.
func (q *Queue) beat(ctx context.Context) error {
	const now = "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)" // the database's clock, the same for all machines
	_, err := q.db.ExecContext(ctx, "INSERT INTO worker_leases (client_id, expires) VALUES ($1, "+now+" + $2) ON CONFLICT (client_id) DO UPDATE SET expires = EXCLUDED.expires",
		q.id, int64(leaseTime/time.Second))
	if err != nil {
		return err
	}
	if err := q.giveBack(ctx, `SELECT id FROM river_job WHERE state = 'running' AND NOT EXISTS
		(SELECT 1 FROM worker_leases l WHERE l.client_id = attempted_by[array_length(attempted_by, 1)] AND l.expires > `+now+`)`); err != nil {
		return err
	}
	_, err = q.db.ExecContext(ctx, "DELETE FROM worker_leases WHERE expires < "+now+" - 3600")
	return err
}

func (q *Queue) giveBack(ctx context.Context, which string) error {
	result, err := q.db.ExecContext(ctx, "UPDATE river_job SET state = 'available', scheduled_at = CURRENT_TIMESTAMP WHERE id IN ("+which+")")
	if err != nil {
		return fmt.Errorf("give back jobs: %w", err)
	}
	if n, err := result.RowsAffected(); err == nil && n > 0 {
		q.log.Info("jobs of a process that is gone were taken over", "jobs", n)
	}
	return nil
}

// Stop ends the fetching of jobs and waits for those under way until ctx ends,
// then cancels them and waits for that.
func (q *Queue) Stop(ctx context.Context) error {
	var err error
	if q.working {
		if err = q.client.Stop(ctx); errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = q.client.StopAndCancel(hard)
		}
	}
	if q.stop != nil {
		q.stop()
		q.beating.Wait()
		_, leaseErr := q.db.ExecContext(context.WithoutCancel(ctx), "DELETE FROM worker_leases WHERE client_id = $1", q.id)
		err = errors.Join(err, leaseErr)
	}
	if q.listener != nil {
		q.listener.Close()
	}
	return err
}

// Entry is a job to be inserted, due at a time; the zero time is now.
type Entry struct {
	Job
	At time.Time
}

// Enqueue inserts jobs in tx.
func (q *Queue) Enqueue(ctx context.Context, tx *sql.Tx, list ...Entry) error {
	for part := range slices.Chunk(list, 500) {
		params := make([]river.InsertManyParams, len(part))
		for i, e := range part {
			params[i] = river.InsertManyParams{Args: args{RequestID: e.RequestID, Queue: e.Kind}, InsertOpts: &river.InsertOpts{Queue: e.Kind, ScheduledAt: e.At}}
		}
		if _, err := q.client.InsertManyFastTx(ctx, tx, params); err != nil {
			return err
		}
	}
	return nil
}

// Complete marks the job that ctx belongs to as done, in tx.
func (q *Queue) Complete(ctx context.Context, tx *sql.Tx) error {
	job, ok := ctx.Value(jobKey{}).(*river.Job[args])
	if !ok {
		return errors.New("queue: Complete outside a job")
	}
	return q.complete(ctx, tx, job)
}

// Depth counts the jobs that wait or run, by kind.
func (q *Queue) Depth(ctx context.Context, db *sql.Tx) (map[string]int64, error) {
	rows, err := db.QueryContext(ctx, "SELECT queue, COUNT(*) FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled') GROUP BY queue")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	depth := map[string]int64{Provision: 0, Urgent: 0, Reconcile: 0, Plan: 0}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		depth[name] = n
	}
	return depth, rows.Err()
}

// Waiting is what waits or runs in one queue.
type Waiting struct {
	Depth int64
	// Due is since when the oldest job that could run has waited; zero for none.
	Due time.Time
}

// Waiting tells what waits or runs, by kind.
func (q *Queue) Waiting(ctx context.Context, db *sql.Tx, now time.Time) (map[string]Waiting, error) {
	depth, err := q.Depth(ctx, db)
	if err != nil {
		return nil, err
	}
	waiting := map[string]Waiting{}
	for name, n := range depth {
		w := Waiting{Depth: n}
		if n > 0 {
			// River's index has the jobs of a queue by priority and then by time; ours all
			// have the same priority. The column's type is needed for it to be a time.
			err := db.QueryRowContext(ctx, "SELECT scheduled_at FROM river_job WHERE state = 'available' AND queue = $1 ORDER BY priority, scheduled_at, id LIMIT 1", name).Scan(&w.Due)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			if w.Due.After(now) {
				w.Due = time.Time{}
			}
		}
		waiting[name] = w
	}
	return waiting, nil
}

// retryPolicy is for attempts that could not store their end, as when the
// database was away: soon, then at most every minute.
type retryPolicy struct{}

func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Minute, time.Second<<min(len(job.Errors), 6))
	return time.Now().Add(wait)
}

// atLeast lets through what is of a level or above.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}
func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(a), h.level}
}
func (h atLeast) WithGroup(g string) slog.Handler { return atLeast{h.Handler.WithGroup(g), h.level} }
