// Package pace holds the HTTP requests of all machines together to the rate and
// the concurrency of their targets. It knows names and numbers; what a target is,
// and who calls it, it does not know.
//
// Neither costs a write of the database for each request. A machine that has much
// to send reserves its turns some at a time, a fifth of a second ahead; a slot
// that it has taken it keeps, under a lease, until it has been of no use for a
// moment or another machine wants one.
package pace

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
)

// Store is where all machines look. Each method is one transaction.
type Store interface {
	// ReserveTurns takes n turns of a target, interval apart and none before now,
	// and returns the first. Where that were later than latest it takes none, and
	// ok is false.
	ReserveTurns(ctx context.Context, target string, now, latest time.Time, interval time.Duration, n int) (first time.Time, ok bool, err error)
	// AcquireSlot takes one of a target's slots, numbered from 1 to most, for holder
	// until a time. It returns 0 where all are taken, and notes until wanted that
	// holder waits for one.
	AcquireSlot(ctx context.Context, target, holder string, most int, now, until, wanted time.Time) (slot int, err error)
	// RenewSlots keeps those slots of holder that are still its own, which it
	// returns, until a time.
	RenewSlots(ctx context.Context, target, holder string, now, until time.Time) ([]int, error)
	// ReleaseSlot gives a slot back.
	ReleaseSlot(ctx context.Context, target, holder string, slot int) error
	// SlotWanted tells whether another than holder waits for a slot.
	SlotWanted(ctx context.Context, target, holder string, now time.Time) (bool, error)
}

// Limits are the bounds of one target.
type Limits struct {
	Target string
	// PerSecond is the most requests in a second, Concurrency the most at once; 0
	// for no bound.
	PerSecond   float64
	Concurrency int
}

// Options are for [New].
type Options struct {
	Store Store
	// Now is the clock; nil is the real one.
	Now    func() time.Time
	Logger *slog.Logger
}

// Pace lets the requests of one process out. It may be used from many
// goroutines.
type Pace struct {
	options Options
	// holder names this process among all.
	holder string
	ctx    context.Context
	stop   context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex
	turns map[string]*turns
	slots map[string]*slots
}

// New makes a Pace. Close it in the end.
func New(o Options) *Pace {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pace{options: o, holder: host.NewID(), turns: map[string]*turns{}, slots: map[string]*slots{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Close gives back what is held, and waits for what it started.
func (p *Pace) Close() {
	p.stop()
	p.group.Wait()
}

// mostPause is how long a request waits for its turn or its slot at most. Who
// would have to wait longer is better told so.
const mostPause = time.Minute

// Take waits until a request to the targets may go out: for a slot of each, then
// for its turn at each, unless its turns were taken already ([host.WithTurn]).
// Call release when the request has ended. The error is a *[host.Error]:
// RateLimited, with RetryAfter, where that would take too long.
func (p *Pace) Take(ctx context.Context, limits []Limits) (release func(), err error) {
	limits = slices.Clone(limits)
	slices.SortFunc(limits, func(a, b Limits) int { return cmp.Compare(a.Target, b.Target) }) // one order for all, so that nobody waits crosswise
	var held []func()
	release = func() {
		for _, give := range held {
			give()
		}
	}
	for _, l := range limits {
		if l.Concurrency <= 0 {
			continue
		}
		give, err := p.slotsOf(l.Target).take(ctx, l.Concurrency)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, give)
	}
	if err := p.Turn(ctx, limits); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Turn waits for a request's turn by the rates of the targets.
func (p *Pace) Turn(ctx context.Context, limits []Limits) error {
	if !slices.ContainsFunc(limits, func(l Limits) bool { return l.PerSecond > 0 }) || host.TakeTurn(ctx) {
		return nil
	}
	at := time.Time{}
	for _, l := range limits {
		if l.PerSecond <= 0 {
			continue
		}
		turn, err := p.turnsOf(l.Target).take(ctx, l)
		if err != nil {
			return err
		}
		if turn.After(at) {
			at = turn
		}
	}
	return sleep(ctx, at.Sub(p.options.Now()))
}

func (p *Pace) turnsOf(target string) *turns {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.turns[target]
	if t == nil {
		t = &turns{pace: p, turn: make(chan struct{}, 1)}
		p.turns[target] = t
	}
	return t
}

func (p *Pace) slotsOf(target string) *slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[target]
	if s == nil {
		s = &slots{pace: p, target: target, busy: map[int]bool{}, poke: make(chan struct{}, 1)}
		p.slots[target] = s
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	}
}

func cancelled(ctx context.Context) error {
	return host.Errorf(host.Cancelled, "the request waited for its turn: %w", context.Cause(ctx))
}
