package pace

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// mostAhead is how far ahead turns are reserved: a machine that stops using them
// keeps the others from no more than that, and one that uses all of them writes
// five times a second.
const mostAhead = 200 * time.Millisecond

// turns are those of one target that this process has reserved. A turn that its
// time has passed by is lost, so that what is saved up never becomes a burst.
type turns struct {
	pace *Pace
	// turn is held by who looks at the rest; a channel, since to reserve takes a
	// while.
	turn     chan struct{}
	interval time.Duration
	next     time.Time
	left     int
	batch    int
}

// take returns when the next request may go.
func (t *turns) take(ctx context.Context, l Limits) (time.Time, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return time.Time{}, cancelled(ctx)
	}
	now := t.pace.options.Now()
	interval := time.Duration(float64(time.Second) / l.PerSecond)
	if interval != t.interval {
		t.interval, t.left, t.batch = interval, 0, 0
	}
	for t.left > 0 && now.Sub(t.next) >= interval {
		t.left--
		t.next = t.next.Add(interval)
	}
	if t.left == 0 {
		// Who comes before the turns of the last time are over has use for more.
		if t.batch = max(1, min(t.batch*2, int(mostAhead/interval))); !t.next.After(now) {
			t.batch = 1
		}
		latest := now.Add(mostPause)
		if end, ok := ctx.Deadline(); ok && end.Before(latest) {
			latest = end
		}
		first, ok, err := t.pace.options.Store.ReserveTurns(ctx, l.Target, now, latest, interval, t.batch)
		if err != nil {
			return time.Time{}, err
		}
		if !ok {
			return time.Time{}, tooLong(l.Target, first.Sub(now), "rate")
		}
		t.next, t.left = first, t.batch
	}
	at := t.next
	t.left--
	t.next = at.Add(interval)
	return at, nil
}

// tooLong is the error of who would have to wait too long.
func tooLong(target string, wait time.Duration, limit string) error {
	wait = wait.Round(time.Second)
	e := host.Errorf(host.RateLimited, "limits.%s of %s lets the next request go in %s; raise it if the target can take more", limit, target, wait)
	e.RetryAfter = wait
	return e
}
