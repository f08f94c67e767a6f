package sandbox

import (
	"runtime"
	"sync"
	"time"
)

const (
	// shortCall is what a call computes without a turn.
	shortCall = 5 * time.Millisecond
	// turnTime is how long a turn lasts when others wait for one.
	turnTime = 10 * time.Millisecond
)

// turns are what calls that compute for long need, in the order in which they
// ask. There are fewer than cores: the short calls of the others find one.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []chan struct{}
}

func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)-1)} }

// take waits for a turn. It reports false when done was closed before.
func (t *turns) take(done <-chan struct{}) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	turn := make(chan struct{}, 1)
	t.waiting = append(t.waiting, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-done:
	}
	t.mu.Lock()
	for n, other := range t.waiting {
		if other == turn {
			t.waiting = append(t.waiting[:n:n], t.waiting[n+1:]...)
			t.mu.Unlock()
			return false
		}
	}
	t.mu.Unlock()
	t.give() // it came at the same moment
	return false
}

// give ends a turn; the next in the queue has it.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	t.waiting[0] <- struct{}{}
	t.waiting = t.waiting[1:]
}

// wanted reports whether anybody waits for a turn.
func (t *turns) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0
}

// share lets a call that has computed for long wait for its turn, and hand it
// on when it has had it.
func (k *kernel) share(now time.Time) {
	switch {
	case k.turns == nil || k.computed(now) < shortCall:
		return
	case k.turn.IsZero():
	case now.Sub(k.turn) < turnTime || !k.turns.wanted():
		return
	default:
		k.turns.give()
	}
	k.turn = time.Time{}
	taken := k.turns.take(k.ctx.Done())
	end := time.Now()
	k.waited += end.Sub(now)
	if taken {
		k.turn = end
	} else {
		k.check(end) // ends it
	}
}

// rest ends the turn of a call that computes nothing for now.
func (k *kernel) rest() {
	if !k.turn.IsZero() {
		k.turn = time.Time{}
		k.turns.give()
	}
}

// computed is how long the call has computed: neither in HTTP nor, as long as
// that is not longer than it may compute, waiting for a turn.
func (k *kernel) computed(now time.Time) time.Duration {
	return now.Sub(k.started) - k.httpDuration - min(k.waited, k.limits.Time)
}
