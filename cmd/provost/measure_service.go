package main

import (
	"context"
	"encoding/json"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	own "github.com/provosthq/provost/host/metrics"
	"github.com/provosthq/provost/host/store"
)

const (
	// sampleEvery is how often the daemon measures itself, and samplesKept how many
	// of that are kept: an hour.
	sampleEvery = 10 * time.Second
	samplesKept = 360
)

// samples are what the daemon has measured of itself, the oldest first. It is for
// many goroutines.
type samples struct {
	mu   sync.Mutex
	list []sample
}

type sample struct {
	at     time.Time
	queue  int64
	memory uint64
	totals own.Totals
}

func (s *samples) add(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, one)
	if len(s.list) > samplesKept {
		s.list = slices.Clone(s.list[1:])
	}
}

func (s *samples) all() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// sample measures the daemon.
func (d *daemon) sample(ctx context.Context) error {
	one := sample{at: time.Now(), memory: memoryBytes(), totals: d.metrics.Totals()}
	err := d.store.View(ctx, func(t *store.Tx) error {
		depth, err := d.queue.Depth(ctx, t.SQL())
		one.queue = 0
		for _, n := range depth {
			one.queue += n
		}
		return err
	})
	if err == nil {
		d.samples.add(one)
	}
	return err
}

// memoryBytes is what the process has of the operating system.
func memoryBytes() uint64 {
	read := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(read)
	return read[0].Value.Uint64()
}

func (s service) Trends(context.Context) ([]api.Trend, error) {
	list := s.samples.all()
	level := func(name, what string, bytes bool, of func(sample) float64) api.Trend {
		t := api.Trend{Name: name, What: what, Bytes: bytes, Points: []api.Point{}}
		for _, one := range list {
			t.Points = append(t.Points, api.Point{At: one.at, Value: of(one)})
		}
		return t
	}
	rate := func(name, what string, of func(own.Totals) float64) api.Trend {
		t := api.Trend{Name: name, What: what, PerSecond: true, Points: []api.Point{}}
		for i := 1; i < len(list); i++ {
			if took := list[i].at.Sub(list[i-1].at).Seconds(); took > 0 {
				t.Points = append(t.Points, api.Point{At: list[i].at, Value: (of(list[i].totals) - of(list[i-1].totals)) / took})
			}
		}
		return t
	}
	return []api.Trend{
		level("queue", "Jobs waiting", false, func(one sample) float64 { return float64(one.queue) }),
		rate("jobs", "Jobs worked", func(t own.Totals) float64 { return t.Jobs }),
		rate("calls", "Connector calls", func(t own.Totals) float64 { return t.Calls }),
		rate("failures", "Failed calls", func(t own.Totals) float64 { return t.Failed }),
		rate("callouts", "HTTP to apps", func(t own.Totals) float64 { return t.Callouts }),
		level("memory", "Memory", true, func(one sample) float64 { return float64(one.memory) }),
	}, nil
}

func (s service) ConnectorUse(_ context.Context, name string) (api.ConnectorUse, error) {
	if _, err := configuredPlugin(s.current.Load().config, name); err != nil {
		return api.ConnectorUse{}, err
	}
	pool := s.catalogue.Pools()[name]
	out := api.ConnectorUse{Since: s.started, Instances: pool.Instances, Idle: pool.Idle, Waiting: pool.Waiting, Operations: []api.OperationUse{}}
	for _, u := range s.metrics.UseOf(name) {
		out.Operations = append(out.Operations, api.OperationUse{Operation: u.Operation, Calls: int64(u.Calls), Failed: int64(u.Failed), Fuel: int64(u.Fuel),
			Took: time.Duration(u.Seconds * float64(time.Second))})
	}
	return out, nil
}

func (s service) ConnectorLog(_ context.Context, name string, limit int) (list []map[string]any, err error) {
	if _, err := configuredPlugin(s.current.Load().config, name); err != nil {
		return nil, err
	}
	h, ok := s.log.Handler().(*logHandler)
	if !ok {
		return nil, host.Errorf(host.Unsupported, "no daemon runs that keeps its log")
	}
	for _, line := range slices.Backward(h.shared.recent.all()) {
		var given map[string]any
		if json.Unmarshal(line, &given) != nil || given["connector"] != name {
			continue
		}
		if list = append(list, unnamedLine(given)); len(list) == limit {
			break
		}
	}
	return list, nil
}
