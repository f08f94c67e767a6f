package host

import (
	"context"
	"sync"
)

// DryRun collects what would be done. While a context carries one, every
// transaction that is begun with it is rolled back at its end.
type DryRun struct {
	mu       sync.Mutex
	requests []*UserProvisioningRequest
	made     int
}

// mostShownRequests bounds what a dry run keeps.
const mostShownRequests = 100_000

// Made notes a request that would have been made.
func (d *DryRun) Made(r *UserProvisioningRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made++; d.made <= mostShownRequests {
		copied := *r
		d.requests = append(d.requests, &copied)
	}
}

// Mark returns what takes back all that is noted from now on.
func (d *DryRun) Mark() (undo func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, made := len(d.requests), d.made
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.requests, d.made = d.requests[:n], made
	}
}

// Requests are those that would have been made, the first 100,000 of made.
func (d *DryRun) Requests() (list []*UserProvisioningRequest, made int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests, d.made
}

type dryRunKey struct{}

// WithDryRun makes what is done with ctx a dry run.
func WithDryRun(ctx context.Context, d *DryRun) context.Context {
	return context.WithValue(ctx, dryRunKey{}, d)
}

// DryRunOf is the dry run that ctx belongs to, nil for none.
func DryRunOf(ctx context.Context) *DryRun {
	d, _ := ctx.Value(dryRunKey{}).(*DryRun)
	return d
}
