package access

import (
	"container/list"
	"sync"
	"time"
)

// throttle slows down who fails: the wait before the next try doubles with each
// failure, up to a bound. Nobody is ever locked. It is for many goroutines, and
// remembers the keys that were used last.
type throttle struct {
	now  func() time.Time
	most int

	mu    sync.Mutex
	order *list.List // of *failing, the last used first
	keys  map[string]*list.Element
}

type failing struct {
	key      string
	failures int
	until    time.Time // of the wait
	last     time.Time
}

// pace is how a key is slowed down.
type pace struct {
	key string
	// free failures cost nothing.
	free int
	// longest is the bound of the wait.
	longest time.Duration
	// shared: others have the key too, whose failures a success does not forgive.
	shared bool
}

// forgetAfter so much time without a failure, all is as at the beginning.
const forgetAfter = time.Hour

func newThrottle(now func() time.Time, most int) *throttle {
	return &throttle{now: now, most: most, order: list.New(), keys: map[string]*list.Element{}}
}

// wait is how long who tries with these keys must wait; 0 lets him try, and
// counts as a failure until [throttle.succeeded] says otherwise: tries that run
// at once count, too.
func (t *throttle) wait(paces ...pace) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	var longest time.Duration
	for _, p := range paces {
		if e := t.keys[p.key]; e != nil {
			longest = max(longest, e.Value.(*failing).until.Sub(now))
		}
	}
	if longest > 0 {
		return longest
	}
	for _, p := range paces {
		t.get(p.key).fail(p, now)
	}
	return 0
}

// fail counts a failure.
func (f *failing) fail(p pace, now time.Time) {
	if now.Sub(f.last) > forgetAfter {
		f.failures = 0
	}
	f.failures++
	f.last = now
	if over := f.failures - p.free; over >= 0 {
		f.until = now.Add(min(p.longest, time.Second<<min(over, 20)))
	}
}

// forgive takes the last failure of keys back.
func (t *throttle) forgive(paces ...pace) {
	for _, p := range paces {
		p.shared = true
		t.succeeded(p)
	}
}

// succeeded forgets the failures of keys, of shared ones the last.
func (t *throttle) succeeded(paces ...pace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range paces {
		e := t.keys[p.key]
		switch {
		case e == nil:
		case p.shared:
			f := e.Value.(*failing)
			f.failures--
			f.until = time.Time{}
		default:
			t.order.Remove(e)
			delete(t.keys, p.key)
		}
	}
}

func (t *throttle) get(key string) *failing {
	if e := t.keys[key]; e != nil {
		t.order.MoveToFront(e)
		return e.Value.(*failing)
	}
	for t.order.Len() >= t.most {
		last := t.order.Back()
		delete(t.keys, last.Value.(*failing).key)
		t.order.Remove(last)
	}
	f := &failing{key: key}
	t.keys[key] = t.order.PushFront(f)
	return f
}
