package pace

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
)

const (
	// lease is how long a slot stays with a process of which nothing is heard,
	// renewEvery how often it says that it is there.
	lease      = 20 * time.Second
	renewEvery = 5 * time.Second
	// lookEvery is how often a process that holds slots looks whether another wants
	// one, and askEvery how often one asks that waits.
	lookEvery = 250 * time.Millisecond
	askEvery  = 150 * time.Millisecond
	// linger is how long a slot is kept that nobody uses.
	linger = 500 * time.Millisecond
)

// slots are those of one target that this process holds.
type slots struct {
	pace   *Pace
	target string
	// poke wakes who keeps them.
	poke chan struct{}

	mu   sync.Mutex
	most int
	idle []idleSlot
	busy map[int]bool // false: it was lost meanwhile
	// back are those that are to be given back.
	back []int
	// queue are those that wait here, the first of them first.
	queue []chan int
	// wanted: another process waits for one.
	wanted          bool
	until, renewed  time.Time
	asking, keeping bool
}

type idleSlot struct {
	slot  int
	since time.Time
}

// take waits for a slot.
func (s *slots) take(ctx context.Context, most int) (give func(), err error) {
	s.mu.Lock()
	now := s.pace.options.Now()
	s.most = most
	if len(s.idle) > 0 && now.After(s.until) { // the process was asleep, or the database away
		s.idle = nil
	}
	if len(s.queue) == 0 && len(s.idle) > 0 {
		slot := s.idle[len(s.idle)-1].slot
		s.idle = s.idle[:len(s.idle)-1]
		s.busy[slot] = true
		s.mu.Unlock()
		return func() { s.put(slot) }, nil
	}
	mine := make(chan int, 1)
	s.queue = append(s.queue, mine)
	s.ask()
	s.mu.Unlock()

	timer := time.NewTimer(mostPause)
	defer timer.Stop()
	select {
	case slot := <-mine:
		return func() { s.put(slot) }, nil
	case <-timer.C:
		err = tooLong(s.target, renewEvery, "concurrency")
	case <-ctx.Done():
		err = cancelled(ctx)
	case <-s.pace.ctx.Done():
		err = host.Errorf(host.Cancelled, "the daemon stops")
	}
	s.mu.Lock()
	i := slices.Index(s.queue, mine)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it came in the same moment
		s.put(<-mine)
	}
	return nil, err
}

// put takes a slot back from who has used it.
func (s *slots) put(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := s.busy[slot]
	delete(s.busy, slot)
	switch {
	case !ours:
		s.ask() // for who may wait here
	case s.wanted || slot > s.most:
		s.wanted = false
		s.back = append(s.back, slot)
		s.wake()
		s.ask()
	default:
		s.hand(slot)
	}
}

// hand gives a slot to the first who waits here, or lays it by. It is called with
// the lock.
func (s *slots) hand(slot int) {
	if len(s.queue) > 0 {
		s.busy[slot] = true
		s.queue[0] <- slot
		s.queue = s.queue[1:]
		return
	}
	s.idle = append(s.idle, idleSlot{slot, s.pace.options.Now()})
}

// wake wakes who keeps the slots.
func (s *slots) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// held is how many slots are ours. It is called with the lock.
func (s *slots) held() int { return len(s.idle) + len(s.busy) + len(s.back) }

// ask begins to ask for slots while somebody waits here and there may be more of
// them. It is called with the lock.
func (s *slots) ask() {
	if s.asking || len(s.queue) == 0 || len(s.idle)+len(s.busy) >= s.most || s.pace.ctx.Err() != nil {
		return
	}
	s.asking = true
	s.pace.group.Go(func() {
		for s.askOnce() {
			if sleep(s.pace.ctx, askEvery/2+rand.N(askEvery)) != nil {
				s.mu.Lock()
				s.asking = false
				s.mu.Unlock()
				return
			}
		}
	})
}

// askOnce asks for as many slots as are waited for, and tells whether to ask once
// more a little later.
func (s *slots) askOnce() (again bool) {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || len(s.idle)+len(s.busy) >= s.most || s.pace.ctx.Err() != nil {
			s.asking = false
			s.mu.Unlock()
			return false
		}
		most := s.most
		s.mu.Unlock()
		now := s.pace.options.Now()
		slot, err := s.pace.options.Store.AcquireSlot(s.pace.ctx, s.target, s.pace.holder, most, now, now.Add(lease), now.Add(5*askEvery))
		if err != nil {
			s.pace.options.Logger.Warn("no slot could be asked for; it is tried again", "target", s.target, "error", err)
		}
		if slot == 0 {
			return true
		}
		s.mu.Lock()
		if s.held() == 0 {
			s.until, s.renewed = now.Add(lease), now
		}
		s.hand(slot)
		s.keep()
		s.mu.Unlock()
	}
}

// keep keeps the slots while there are any. It is called with the lock.
func (s *slots) keep() {
	if s.keeping {
		return
	}
	s.keeping = true
	s.pace.group.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.poke:
			case <-s.pace.ctx.Done():
				s.giveAll()
				return
			}
			if !s.look() {
				return
			}
		}
	})
}

// look gives back what is of no use here, renews the rest, and tells whether
// there is any.
func (s *slots) look() bool {
	store, ctx := s.pace.options.Store, s.pace.ctx
	wanted, err := store.SlotWanted(ctx, s.target, s.pace.holder, s.pace.options.Now())
	if err != nil && ctx.Err() == nil {
		s.pace.options.Logger.Warn("who waits for a slot is not known", "target", s.target, "error", err)
	}
	s.mu.Lock()
	now := s.pace.options.Now()
	s.wanted = wanted
	back := s.back
	s.back = nil
	s.idle = slices.DeleteFunc(s.idle, func(i idleSlot) bool {
		old := wanted || now.Sub(i.since) >= linger || i.slot > s.most
		if old {
			back = append(back, i.slot)
		}
		return old
	})
	renew := len(s.busy)+len(s.idle) > 0 && now.Sub(s.renewed) >= renewEvery
	s.mu.Unlock()
	for _, slot := range back {
		if err := store.ReleaseSlot(ctx, s.target, s.pace.holder, slot); err != nil && ctx.Err() == nil {
			s.pace.options.Logger.Warn("a slot was not given back; it is free when its lease is over", "target", s.target, "error", err)
		}
	}
	if renew {
		s.renew(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeping = s.held() > 0
	return s.keeping
}

func (s *slots) renew(now time.Time) {
	ours, err := s.pace.options.Store.RenewSlots(s.pace.ctx, s.target, s.pace.holder, now, now.Add(lease))
	if err != nil {
		s.pace.options.Logger.Warn("slots were not renewed; it is tried again", "target", s.target, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed, s.until = now, now.Add(lease)
	lost := func(slot int) bool { return !slices.Contains(ours, slot) }
	s.idle = slices.DeleteFunc(s.idle, func(i idleSlot) bool { return lost(i.slot) })
	for slot := range s.busy {
		if lost(slot) {
			s.busy[slot] = false
		}
	}
}

// giveAll gives everything back: the process ends.
func (s *slots) giveAll() {
	s.mu.Lock()
	all := s.back
	for _, i := range s.idle {
		all = append(all, i.slot)
	}
	for slot := range s.busy {
		all = append(all, slot)
	}
	s.idle, s.back, s.keeping = nil, nil, false
	clear(s.busy)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.pace.ctx), renewEvery)
	defer cancel()
	for _, slot := range all {
		if err := s.pace.options.Store.ReleaseSlot(ctx, s.target, s.pace.holder, slot); err != nil {
			s.pace.options.Logger.Warn("a slot was not given back; it is free when its lease is over", "target", s.target, "error", err)
			return
		}
	}
}
