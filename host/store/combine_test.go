package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// Whoever goes together: each transaction is there whole or not at all, and
// each caller is told what came of his own.
func TestTransactionsThatGoTogetherEndEachForItself(t *testing.T) {
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "test.db"))
	s.Patient()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		ends := rapid.SliceOfN(rapid.SampledFrom([]string{"stored", "stored", "stored", "refused", "panics", "given up", "given up in the middle", "wrong statement"}), 1, 40).Draw(rt, "ends")
		// All of them wait while one has the writer.
		has, gives := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			_ = s.Update(context.Background(), func(*store.Tx) error { // its second run, if any, finds both closed
				select {
				case <-has:
				default:
					close(has)
				}
				<-gives
				return nil
			})
		})
		<-has
		got := make([]error, len(ends))
		for i, end := range ends {
			id := fmt.Sprintf("%d-%d", round, i)
			ctx, cancel := context.WithCancel(context.Background())
			if end == "given up" {
				cancel()
			}
			all.Go(func() {
				defer cancel()
				defer func() {
					if r := recover(); r != nil {
						got[i] = fmt.Errorf("panic: %v", r)
					}
				}()
				got[i] = s.Update(ctx, func(tx *store.Tx) error {
					r := request()
					r.Id, r.UserId = id, id
					if err := tx.InsertRequest(ctx, r); err != nil {
						return err
					}
					switch end {
					case "refused":
						return errors.New("refused")
					case "panics":
						panic("on purpose")
					case "given up in the middle":
						cancel()
						_, err := tx.Request(ctx, id)
						return err
					case "wrong statement":
						_, err := tx.SQL().ExecContext(ctx, "UPDATE nothing SET a = 1")
						return err
					}
					return nil
				})
			})
		}
		close(gives)
		all.Wait()
		require.NoError(rt, s.View(context.Background(), func(tx *store.Tx) error {
			for i, end := range ends {
				_, err := tx.Request(context.Background(), fmt.Sprintf("%d-%d", round, i))
				if end == "stored" {
					require.NoError(rt, got[i], end)
					require.NoError(rt, err, end)
					continue
				}
				require.Error(rt, got[i], end)
				require.Equal(rt, host.NotFound, host.CodeOf(err), end)
				switch end {
				case "refused":
					require.EqualError(rt, got[i], "refused")
				case "panics":
					require.EqualError(rt, got[i], "panic: on purpose")
				case "given up", "given up in the middle":
					require.ErrorIs(rt, got[i], context.Canceled)
				}
			}
			return nil
		}))
	})
}

// Those who wait share a transaction: what one has written nobody else sees
// before all have.
func TestThoseWhoWaitForTheWriterGoTogether(t *testing.T) {
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "test.db"))
	s.Patient()
	ctx := t.Context()
	has, gives := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = s.Update(ctx, func(*store.Tx) error { close(has); <-gives; return nil })
	})
	<-has
	together, errs := 0, make(chan error, 8)
	for range 8 {
		all.Go(func() {
			errs <- s.Update(ctx, func(tx *store.Tx) error {
				if err := tx.InsertRequest(ctx, request()); err != nil {
					return err
				}
				var outside []*host.UserProvisioningRequest
				err := s.View(ctx, func(tx *store.Tx) (err error) {
					outside, err = tx.Requests(ctx, store.RequestFilter{Limit: 100})
					return err
				})
				if len(outside) == 0 {
					together++
				}
				return err
			})
		})
	}
	for s.Waiting() < 8 {
		runtime.Gosched()
	}
	close(gives)
	all.Wait()
	for range 8 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, 8, together)
}
