package access

import (
	"context"
	"fmt"
	"time"

	"github.com/provosthq/provost/host"
)

// Bounds of what is stored of guesses, so that a flood of them is none for the
// database: rows, and attempts that one machine counts there, a second and at
// once. What is beyond, each machine counts for itself.
const (
	mostGuesses       = 10_000
	guessesPerSecond  = 10
	guessesAtOnce     = 50
	pruneGuessesEvery = time.Minute
)

// try counts an attempt, on this machine and among all, and refuses one that
// comes too early ([host.RateLimited]). It counts as a failure until
// [Gate.succeeded] says otherwise.
func (g *Gate) try(ctx context.Context, paces ...pace) error {
	wait := g.throttle.wait(paces...)
	if wait == 0 && g.guesses.AllowN(g.Now(), 1) {
		err := g.Store.Update(ctx, func(tx Tx) (err error) {
			wait, err = g.count(ctx, tx, paces)
			return err
		})
		if err != nil {
			return err
		}
		if wait > 0 { // it was no attempt
			g.throttle.forgive(paces...)
		}
	}
	if wait > 0 {
		return &host.Error{Code: host.RateLimited, Message: fmt.Sprintf("too many attempts; try again in %s", max(wait.Round(time.Second), time.Second)), RetryAfter: wait}
	}
	return nil
}

// count is [throttle.wait] among all machines.
func (g *Gate) count(ctx context.Context, tx Tx, paces []pace) (time.Duration, error) {
	if err := tx.LockGuesses(ctx); err != nil {
		return 0, err
	}
	now := g.Now().UTC()
	if last := g.pruned.Load(); now.Sub(time.Unix(last, 0)) >= pruneGuessesEvery && g.pruned.CompareAndSwap(last, now.Unix()) {
		if err := tx.PruneGuesses(ctx, now.Add(-forgetAfter), mostGuesses); err != nil {
			return 0, err
		}
	}
	known, err := g.stored(ctx, tx, paces)
	if err != nil {
		return 0, err
	}
	var longest time.Duration
	for _, f := range known {
		// A clock that was wrong keeps nobody out.
		if wait := f.until.Sub(now); wait <= time.Minute {
			longest = max(longest, wait)
		}
	}
	if longest > 0 {
		return longest, nil
	}
	for _, p := range paces {
		f := known[p.key]
		f.fail(p, now)
		if err := tx.PutGuesses(ctx, &Guesses{Key: guessKey(p), Failures: f.failures, UntilDate: f.until.UTC(), LastDate: f.last.UTC()}); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// stored are what all machines know of some paces, by key.
func (g *Gate) stored(ctx context.Context, tx Tx, paces []pace) (map[string]*failing, error) {
	known, byKey := map[string]*failing{}, map[string]string{}
	var keys []string
	for _, p := range paces {
		known[p.key], byKey[guessKey(p)] = &failing{key: p.key}, p.key
		keys = append(keys, guessKey(p))
	}
	list, err := tx.Guesses(ctx, keys)
	for _, row := range list {
		f := known[byKey[row.Key]]
		f.failures, f.until, f.last = row.Failures, row.UntilDate, row.LastDate
	}
	return known, err
}

// guessKey is how a key is stored: no address can be read there.
func guessKey(p pace) string { return digest("guess " + p.key)[:32] }

// succeeded forgets the failures of keys, of shared ones the last. Where that
// can't be stored, who has signed in is slowed down a little next time.
func (g *Gate) succeeded(ctx context.Context, paces ...pace) {
	g.throttle.succeeded(paces...)
	g.touch(ctx, func(tx Tx) error {
		if err := tx.LockGuesses(ctx); err != nil {
			return err
		}
		known, err := g.stored(ctx, tx, paces)
		if err != nil {
			return err
		}
		for _, p := range paces {
			f := known[p.key]
			switch {
			case f.failures == 0:
				continue
			case p.shared:
				err = tx.PutGuesses(ctx, &Guesses{Key: guessKey(p), Failures: f.failures - 1, UntilDate: f.last.UTC(), LastDate: f.last.UTC()})
			default:
				err = tx.DeleteGuesses(ctx, guessKey(p))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
