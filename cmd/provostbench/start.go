package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/plugins"
)

const (
	startConnectors = 10
	startRounds     = 5
)

// start measures the time from the begin of a daemon's process until each of ten
// connectors serves, with what they were compiled to in the cache, against the
// first start, which compiles them.
func start(ctx context.Context) (_ []figure, err error) {
	wasm, ok := plugins.Builtin("scim")
	if !ok {
		return nil, errors.New("the connector scim is not built; run make build")
	}
	dir, err := os.MkdirTemp("", "provost-start-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var list []string
	for n := range startConnectors {
		name := "scim"
		if n > 0 {
			name += fmt.Sprint("-", n)
		}
		file := filepath.Join(dir, name+".wasm")
		if err := os.WriteFile(file, numbered(wasm, n), 0o600); err != nil {
			return nil, err
		}
		list = append(list, fmt.Sprintf("{name: %s, source: %q, unsigned: true}", name, file))
	}
	began := time.Now()
	d, err := startDaemon(ctx, dir, setup{endpoint: "http://127.0.0.1:1", plugins: strings.Join(list, ", ")})
	if err != nil {
		return nil, err
	}
	cold, err := d.servingSince(ctx, began)
	if err = d.stop(err); err != nil {
		return nil, err
	}
	var first, last, cpu []time.Duration
	for range startRounds {
		began := time.Now()
		if err := d.start(); err != nil {
			return nil, err
		}
		ready, err := d.servingSince(ctx, began)
		if err = d.stop(err); err != nil {
			return nil, err
		}
		first, last = append(first, ready[0]), append(last, ready[startConnectors-1])
		cpu = append(cpu, d.process.ProcessState.UserTime()+d.process.ProcessState.SystemTime())
	}
	of := fmt.Sprintf(" of %d connectors at the first start, which compiles them", startConnectors)
	return []figure{
		{Name: "start_first", Ours: ms(median(first)), Baseline: ms(cold[0]), BaselineName: "the first" + of, Unit: "ms"},
		{Name: "start", Ours: ms(median(last)), Baseline: ms(cold[startConnectors-1]), BaselineName: "the last" + of, Unit: "ms"},
		// A machine that has other things to do, too, takes longer than its cores would.
		{Name: "start_cpu", Ours: ms(median(cpu)), Baseline: ms(median(last)), BaselineName: "the time until the last serves; this is that of the processors, the end included", Unit: "ms"},
	}, nil
}

// servingSince is after how long each of the connectors was seen serving, in the
// order in which they were.
func (d *daemon) servingSince(ctx context.Context, began time.Time) ([]time.Duration, error) {
	seen := map[string]bool{}
	var after []time.Duration
	for len(after) < startConnectors {
		if time.Since(began) > time.Minute*5 {
			return nil, fmt.Errorf("only %d of the connectors serve", len(after))
		}
		list, _ := d.connectors(ctx) // it does not listen yet
		for _, c := range list {
			if c.State == "serving" && !seen[c.Name] {
				seen[c.Name] = true
				after = append(after, time.Since(began))
			}
		}
		if err := rest(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
	slices.Sort(after)
	return after, nil
}
