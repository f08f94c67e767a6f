package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// SQLite has one writer, and to begin, commit and hand on a transaction costs
// about as much as what one does. So those who wait for the writer go together:
// who has it runs what the others wait to do as well, in the same transaction.
// When any of them fails, all is undone, and each has a transaction of its own:
// nobody sees another's fault.

const (
	// mostCombined go together, none after longestCombined: so much is done again
	// when one of them fails, and so long those wait who were the first.
	mostCombined    = 16
	longestCombined = 10 * time.Millisecond
)

// combiner is the transactions that wait for SQLite's writer.
type combiner struct {
	mu sync.Mutex
	// waiting are in the order in which they came; the first of them leads, if led.
	waiting []*update
	led     bool
	// longest is longestCombined, but for tests on a slow machine.
	longest time.Duration
}

// update is a transaction that somebody waits for.
type update struct {
	ctx   context.Context
	fn    func(*Tx) error
	leads bool
	turn  chan turn // of one
}

// turn is what an update waits for.
type turn int

const (
	done  turn = iota // it is committed
	alone             // it needs a transaction of its own
	lead              // it is to run what waits, itself first
)

// combine runs fn in a transaction, maybe together with what others wait to do.
func (s *Store) combine(ctx context.Context, fn func(*Tx) error) error {
	u := &update{ctx: ctx, fn: fn, turn: make(chan turn, 1)}
	switch s.combiner.enter(u) {
	case done:
		return nil
	case lead:
		if end, err := s.lead(u); end == done {
			return err
		}
	}
	return s.once(ctx, s.writer, nil, fn)
}

// lead runs what waits, u first. It is done where u was all there was, or all
// is committed.
func (s *Store) lead(u *update) (end turn, err error) {
	var batch []*update
	end = alone
	defer func() { s.combiner.leave(batch, end) }()
	tx, err := s.writer.BeginTx(context.WithoutCancel(u.ctx), nil)
	if err != nil {
		return end, err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo once it is committed
	for began := time.Now(); len(batch) < mostCombined && (len(batch) == 0 || time.Since(began) < s.combiner.longest); {
		next := s.combiner.next()
		if next == nil {
			break
		}
		batch = append(batch, next)
		if panicked, err := s.try(next, tx); panicked {
			return alone, nil // and again, for who must know of it
		} else if err != nil && len(batch) == 1 {
			end = done
			return end, err
		} else if err != nil {
			return alone, nil
		}
	}
	if err := tx.Commit(); err != nil && len(batch) > 1 {
		return alone, nil
	} else if end = done; err != nil {
		return end, err
	}
	return end, nil
}

func (s *Store) try(u *update, tx bun.Tx) (panicked bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			panicked, err = true, fmt.Errorf("panic: %v", r)
		}
	}()
	t := &Tx{db: tx, bun: s.writer, store: s, dialect: s.dialect}
	if err := u.fn(t); err != nil {
		return false, err
	}
	return false, t.appendAudit(u.ctx)
}

// enter waits for the turn of u. Who gives up before is alone, and will be told
// so by its ctx.
func (c *combiner) enter(u *update) turn {
	c.mu.Lock()
	c.waiting = append(c.waiting, u)
	if !c.led {
		c.led, u.leads = true, true
		c.mu.Unlock()
		return lead
	}
	c.mu.Unlock()
	select {
	case t := <-u.turn:
		return t
	case <-u.ctx.Done():
	}
	c.mu.Lock()
	if i := slices.Index(c.waiting, u); i >= 0 && !u.leads {
		c.waiting = slices.Delete(c.waiting, i, i+1)
		c.mu.Unlock()
		return alone
	}
	c.mu.Unlock()
	return <-u.turn // it is under way
}

// next takes who waits longest, nil for nobody.
func (c *combiner) next() *update {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	u := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return u
}

// leave tells those of a batch, but for who led, how it ended, and lets the next
// lead.
func (c *combiner) leave(batch []*update, end turn) {
	for _, u := range batch {
		if !u.leads {
			u.turn <- end
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(batch) == 0 { // who led never began
		c.waiting = c.waiting[1:]
	}
	if c.led = len(c.waiting) > 0; c.led {
		c.waiting[0].leads = true
		c.waiting[0].turn <- lead
	}
}
