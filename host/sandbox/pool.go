package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	errBusy   = errors.New("all instances are busy")
	errClosed = errors.New("the module is closed")
	errMemory = errors.New("there is no memory for another instance")
)

// pool has the instances of a module. Those at rest are in their pristine
// state; one that comes back is reset while nobody waits for it.
type pool struct {
	module *Module

	mu sync.Mutex
	// idle are at rest, the one that was used last at the end.
	idle []*instance
	// total counts the idle ones, those in a call, those being reset and those
	// being made.
	total  int
	making int
	// queues are calls that wait, by tenant; turns is the order in which
	// tenants are served.
	queues map[string][]*waiter
	turns  []string
	closed bool
	// work are the goroutines of the pool.
	work sync.WaitGroup
	// waits counts calls that had to wait, refusals those that waited in vain.
	waits, refusals int64
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
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		i := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if n == 1 && p.making == 0 && p.total < p.module.limits.Instances {
			p.makeAhead()
		}
		p.mu.Unlock()
		return i, nil
	}
	if p.total < p.module.limits.Instances && p.making == 0 {
		p.total++
		p.making++
		p.mu.Unlock()
		i, err := p.module.newInstance(ctx)
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
		if p.total < p.module.limits.Instances && p.making == 0 && len(p.turns) > 0 {
			p.makeAhead()
		}
		p.mu.Unlock()
		return i, nil
	}
	if p.total < p.module.limits.Instances {
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
		i, err := p.module.newInstance(context.Background())
		p.mu.Lock()
		p.making--
		if err != nil {
			p.total--
			p.failWaiting(err)
			p.mu.Unlock()
			return
		}
		if p.making == 0 && len(p.turns) > 1 && p.total < p.module.limits.Instances {
			p.makeAhead()
		}
		p.mu.Unlock()
		p.give(i)
	}()
}

// release takes an instance back after a call. The caller does not wait for
// its reset.
func (p *pool) release(i *instance) {
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		if i.reset() {
			p.give(i)
			return
		}
		i.close()
		p.mu.Lock()
		p.total--
		if len(p.turns) > 0 && p.making == 0 && p.total < p.module.limits.Instances {
			p.makeAhead()
		}
		p.mu.Unlock()
	}()
}

// give hands a pristine instance to whose turn it is, or puts it to rest.
func (p *pool) give(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.total--
		i.close()
		return
	}
	if w := p.nextWaiter(); w != nil {
		w.got <- grant{instance: i}
		return
	}
	i.idleSince = time.Now()
	p.idle = append(p.idle, i)
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
	idle := p.idle
	p.idle = nil
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
}

func (p *pool) stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PoolStats{Instances: p.total, Idle: len(p.idle), Waits: p.waits, Refusals: p.refusals}
	for _, q := range p.queues {
		s.Waiting += len(q)
	}
	return s
}
