package sandbox

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errBusy   = errors.New("all instances are busy")
	errClosed = errors.New("the module is closed")
	errMemory = errors.New("there is no memory for another instance")
)

// pool has the instances of a module. One that comes back from a call is reset
// a little later, when nobody waits for it; a call that comes before that
// resets it itself, while its memory is still in the caches of this core.
type pool struct {
	module *Module

	mu sync.Mutex
	// idle are at rest in their pristine state, used those at rest that have
	// to be reset before; the one that was used last stands at the end.
	idle, used []*instance
	// total counts these, those in a call, those being reset and those being
	// made.
	total  int
	making int
	// queues are calls that wait, by tenant; turns is the order in which
	// tenants are served.
	queues map[string][]*waiter
	turns  []string
	// waiting counts the calls in queues.
	waiting int
	closed  bool
	// work are the goroutines of the pool.
	work sync.WaitGroup
	// waits counts calls that had to wait, refusals those that waited in vain.
	waits, refusals int64
	// resets counts the instances that were reset, resetTime in nanoseconds
	// what that took.
	resets, resetTime atomic.Int64
}

// waiter is a call that waits. It gets an instance, or an error.
type waiter struct {
	got chan grant
}

type grant struct {
	instance *instance
	err      error
}

// acquire returns a pristine instance: one at rest, a new one, or, when there
// are as many as there may be, the next that comes back, tenants in turn.
func (p *pool) acquire(ctx context.Context, tenant string) (*instance, error) {
	for {
		i, err := p.next(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if i.pure || i.reset() {
			i.pure = false
			return i, nil
		}
		p.discard(i)
	}
}

func last(list *[]*instance) *instance {
	n := len(*list) - 1
	i := (*list)[n]
	(*list)[n] = nil
	*list = (*list)[:n]
	return i
}

// next is acquire for an instance that may have to be reset.
func (p *pool) next(ctx context.Context, tenant string) (*instance, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if len(p.idle)+len(p.used) > 0 {
		var i *instance
		if n := len(p.used); n > 0 && (len(p.idle) == 0 || p.used[n-1].cheap) {
			i = last(&p.used)
		} else {
			i = last(&p.idle)
		}
		if len(p.idle)+len(p.used) == 0 && p.making == 0 && p.total < p.module.limits.Instances {
			p.makeAhead()
		}
		p.mu.Unlock()
		return i, nil
	}
	if p.total < p.module.limits.Instances && p.making == 0 {
		p.total++
		p.making++
		p.mu.Unlock()
		i, err := p.module.makeInstance(ctx)
		p.mu.Lock()
		p.making--
		if err != nil {
			p.total--
			if p.total > 0 && errors.Is(err, errMemory) {
				return p.wait(ctx, tenant)
			}
			switch {
			case ctx.Err() == nil:
				p.failWaiting(err)
			case len(p.turns) > 0 && p.making == 0: // who waits has not given up
				p.makeAhead()
			}
			p.mu.Unlock()
			return nil, err
		}
		if p.total < p.module.limits.Instances && p.making == 0 && p.waiting > 0 {
			p.makeAhead()
		}
		p.mu.Unlock()
		return i, nil
	}
	if p.total < p.module.limits.Instances && p.making == 0 {
		p.makeAhead()
	}
	return p.wait(ctx, tenant)
}

// wait waits for an instance. The caller has p.mu, which wait gives back.
func (p *pool) wait(ctx context.Context, tenant string) (*instance, error) {
	w := &waiter{make(chan grant, 1)}
	if p.queues == nil {
		p.queues = map[string][]*waiter{}
	}
	if len(p.queues[tenant]) == 0 {
		p.turns = append(p.turns, tenant)
	}
	p.queues[tenant] = append(p.queues[tenant], w)
	p.waiting++
	p.waits++
	p.mu.Unlock()

	timer := time.NewTimer(p.module.limits.Wait)
	defer timer.Stop()
	var err error
	select {
	case g := <-w.got:
		return g.instance, g.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = errBusy
	}
	p.mu.Lock()
	p.refusals++
	p.leave(tenant, w)
	p.mu.Unlock()
	select {
	case g := <-w.got: // it came at the same moment
		if g.instance != nil {
			p.give(g.instance)
		}
	default:
	}
	return nil, err
}

// leave takes a waiter out of its queue. The caller has p.mu.
func (p *pool) leave(tenant string, w *waiter) {
	queue := p.queues[tenant]
	for n, other := range queue {
		if other == w {
			p.queues[tenant] = append(queue[:n:n], queue[n+1:]...)
			p.waiting--
			break
		}
	}
	if len(p.queues[tenant]) == 0 {
		delete(p.queues, tenant)
		for n, t := range p.turns {
			if t == tenant {
				p.turns = append(p.turns[:n:n], p.turns[n+1:]...)
				break
			}
		}
	}
}

// nextWaiter takes the waiter whose turn it is, nil for none. The caller has
// p.mu.
func (p *pool) nextWaiter() *waiter {
	if len(p.turns) == 0 {
		return nil
	}
	tenant := p.turns[0]
	queue := p.queues[tenant]
	p.turns = p.turns[1:]
	p.waiting--
	if len(queue) == 1 {
		delete(p.queues, tenant)
	} else {
		p.queues[tenant] = queue[1:]
		p.turns = append(p.turns, tenant)
	}
	return queue[0]
}

// failWaiting tells those that wait for what can't be made. The caller has
// p.mu.
func (p *pool) failWaiting(err error) {
	if p.total > 0 {
		return // one will come back
	}
	for w := p.nextWaiter(); w != nil; w = p.nextWaiter() {
		w.got <- grant{err: err}
	}
}

// makeAhead makes an instance before one is asked for. The caller has p.mu.
func (p *pool) makeAhead() {
	if p.closed {
		return
	}
	p.total++
	p.making++
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		i, err := p.module.makeInstance(context.Background())
		p.mu.Lock()
		p.making--
		if err != nil {
			p.total--
			p.failWaiting(err)
			p.mu.Unlock()
			return
		}
		if p.making == 0 && p.waiting > 1 && p.total < p.module.limits.Instances {
			p.makeAhead()
		}
		p.mu.Unlock()
		p.give(i)
	}()
}

// release takes an instance back after a call, as it is.
func (p *pool) release(i *instance) {
	if i.unfit() {
		p.discard(i)
		return
	}
	p.give(i)
}

// discard closes an instance that can't be reset.
func (p *pool) discard(i *instance) {
	i.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.waiting > 0 && p.making == 0 && p.total < p.module.limits.Instances {
		p.makeAhead()
	}
}

// give hands an instance to whose turn it is, or puts it to rest.
func (p *pool) give(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch w := p.nextWaiter(); {
	case w != nil:
		w.got <- grant{instance: i}
	case p.closed:
		p.total--
		i.close()
	case i.pure:
		i.idleSince = time.Now()
		p.idle = append(p.idle, i)
	default:
		p.used = append(p.used, i)
		p.module.runtime.used()
	}
}

// resetUsed resets what came back from calls.
func (p *pool) resetUsed() {
	for {
		p.mu.Lock()
		if len(p.used) == 0 || p.closed {
			p.mu.Unlock()
			return
		}
		i := p.used[0] // the one that was used last may be wanted again at once
		p.used = append(p.used[:0], p.used[1:]...)
		p.work.Add(1) // close waits, and takes the memory away only then
		p.mu.Unlock()
		if i.pure = i.reset(); i.pure {
			p.give(i)
		} else {
			p.discard(i)
		}
		p.work.Done()
	}
}

// trim closes instances that rest since before, all but a few, and returns how
// many it closed.
func (p *pool) trim(before time.Time, keep int) int {
	p.mu.Lock()
	var old []*instance
	for len(p.idle) > keep && p.idle[0].idleSince.Before(before) {
		old = append(old, p.idle[0])
		p.idle = p.idle[1:]
		p.total--
	}
	p.mu.Unlock()
	for _, i := range old {
		i.close()
	}
	return len(old)
}

// close closes all instances. No call is under way.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := append(p.idle, p.used...)
	p.idle, p.used = nil, nil
	p.total -= len(idle)
	p.mu.Unlock()
	for _, i := range idle {
		i.close()
	}
	p.work.Wait()
}

// PoolStats is how a module's instances are doing.
type PoolStats struct {
	// Instances there are; Idle ones are at rest.
	Instances, Idle int
	// Waiting calls there are; Waits there were, Refusals of them in vain.
	Waiting         int
	Waits, Refusals int64
	// Resets of instances there were, and ResetTime is what they took in all.
	Resets    int64
	ResetTime time.Duration
}

func (p *pool) stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PoolStats{Instances: p.total, Idle: len(p.idle) + len(p.used), Waiting: p.waiting, Waits: p.waits, Refusals: p.refusals,
		Resets: p.resets.Load(), ResetTime: time.Duration(p.resetTime.Load())}
	return s
}
