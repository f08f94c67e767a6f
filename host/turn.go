package host

import (
	"context"
	"sync/atomic"
)

type turnKey struct{}

// WithTurn says that the first HTTP request made in ctx has its turn by the rate
// of its target already.
func WithTurn(ctx context.Context) context.Context {
	turn := new(atomic.Bool)
	turn.Store(true)
	return context.WithValue(ctx, turnKey{}, turn)
}

// TakeTurn tells whether there is such a turn, and takes it.
func TakeTurn(ctx context.Context) bool {
	turn, ok := ctx.Value(turnKey{}).(*atomic.Bool)
	return ok && turn.Swap(false)
}
