package callout

import (
	"context"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Pacer holds requests to the rate and the concurrency of what is behind a
// credential, for all machines together.
type Pacer interface {
	// Take waits until a request over a credential for an app ("" for none) may
	// begin; release is to be called when it has ended.
	Take(ctx context.Context, credential, app string) (release func(), err error)
	// Turn waits until one more HTTP request of the same may be sent.
	Turn(ctx context.Context, credential, app string) error
}

type pacerKey struct{}

// pace waits for a request's turn, and returns a context in which [turn] waits
// for the further ones that it may need, and how long it has waited.
func (e *Egress) pace(ctx context.Context, caller Caller) (context.Context, func(), time.Duration, *pdk.Error) {
	p := e.options.Pacer
	if p == nil {
		return ctx, func() {}, 0, nil
	}
	began := time.Now()
	release, err := p.Take(ctx, caller.Credential, caller.App)
	if err != nil {
		return ctx, nil, 0, unpaced(err)
	}
	more := func(ctx context.Context) error { return p.Turn(ctx, caller.Credential, caller.App) }
	return context.WithValue(ctx, pacerKey{}, more), release, time.Since(began), nil
}

// turn waits for the turn of one more request: a retry, a redirect, one that is
// signed in anew.
func turn(ctx context.Context) error {
	if more, ok := ctx.Value(pacerKey{}).(func(context.Context) error); ok {
		return more(ctx)
	}
	return nil
}

// unpaced is what a connector is told whose request had no turn.
func unpaced(err error) *pdk.Error {
	var known *host.Error
	if errors.As(err, &known) && known.Code == host.RateLimited {
		e := pdk.Errorf(pdk.RateLimited, "%s", known.Message)
		e.RetryAfterSeconds = int((known.RetryAfter + time.Second - 1) / time.Second)
		return e
	}
	return pdk.Errorf(pdk.Unavailable, "the request had no turn: %s", reason(err))
}
