package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Target is what is known of the target behind a named credential, shared by
// all machines.
type Target struct {
	*host.TargetState
	// State is that of the circuit breaker: closed while the target does what it
	// is asked, open while it is left alone, half-open while one request asks
	// whether it is back.
	State host.Breaker `json:"State"`
	// Waiting counts the requests that wait for it.
	Waiting int64 `json:"Waiting"`
	// Rate and Concurrency are the bounds of the configuration, 0 for none.
	Rate        float64  `json:"RatePerSecond,omitempty"`
	Concurrency int      `json:"Concurrency,omitempty"`
	Apps        []string `json:"Apps"`
}

// Until is when it can be asked again; zero for now.
func (t *Target) Until(now time.Time) time.Time {
	var until time.Time
	for _, at := range []*time.Time{t.RestUntil, t.RetryAfter} {
		if at != nil && at.After(now) && at.After(until) {
			until = *at
		}
	}
	return until
}

// TargetService is what the API needs to show targets.
type TargetService interface {
	Targets(ctx context.Context) ([]Target, error)
}

func targets(a huma.API, s TargetService) {
	huma.Get(a, "/api/v1/targets", func(ctx context.Context, _ *struct{}) (*body[[]Target], error) { return listed(s.Targets(ctx)) })
}
