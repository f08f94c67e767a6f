// Package metrics is what Prometheus scrapes from a host. A [Metrics] is made
// for one Registerer; nothing here is global. Its methods count what happens in
// this process; what is stored is counted in the database when it is scraped
// ([State]). Label values come from the configuration or from closed lists; where
// a connector has a say in one, only so many are kept.
package metrics

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

//go:generate go run ../../cmd/metricsgen

// Options are for [New].
type Options struct {
	Build Build
	// State and Counts are asked when something is scraped, and must answer within
	// their context: State each time, Counts seldom enough to take a tenth of the
	// time at most. nil for none.
	State  func(context.Context) (State, error)
	Counts func(context.Context) (Counts, error)
	// Logger is told when they do not answer; nil tells nobody.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Build says what runs.
type Build struct{ Version, Revision, GoVersion string }

// Metrics counts what happens. Its methods may be called at once from many
// goroutines.
type Metrics struct {
	connectors
	callouts
	requests
	reconciling
	jobs
	notices
	database
	configuration

	families []Family
}

// New registers the metrics with r. It fails where one of them is registered
// already.
func New(r prometheus.Registerer, o Options) (*Metrics, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &registrar{registerer: r}
	m := &Metrics{
		connectors: newConnectors(f, o.Now), callouts: newCallouts(f), requests: newRequests(f), reconciling: newReconciling(f), jobs: newJobs(f), notices: newNotices(f),
		database: newDatabase(f), configuration: newConfiguration(f, o.Now),
	}
	f.gauge("provost_build_info", "1, with what runs.", "version", "revision", "goversion").
		WithLabelValues(clean(o.Build.Version), clean(o.Build.Revision), clean(o.Build.GoVersion)).Set(1)
	newStored(f, o)
	m.families = f.families
	return m, errors.Join(f.errs...)
}

// Families lists every metric by name.
func (m *Metrics) Families() []Family { return sorted(m.families) }

// List lists every metric that [New] makes, by name.
func List() []Family {
	m, err := New(prometheus.NewRegistry(), Options{})
	if err != nil {
		panic(err) // a registry without anything in it refuses none
	}
	return m.Families()
}
