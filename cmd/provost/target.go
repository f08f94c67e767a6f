package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/metrics"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/store"
)

func newTargetCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "target", Short: "What stands behind the named credentials: whether it answers, and who waits for it"}
	cmd.AddCommand(newList(s, "List targets", "/api/v1/targets", []string{"TARGET", "STATE", "FAILURES", "AGAIN AT", "WAITING", "RATE", "AT ONCE", "APPS", "ERROR"},
		func(t api.Target) []string {
			again := ""
			if until := t.Until(time.Now()); !until.IsZero() {
				again = until.Local().Format(time.DateTime)
			}
			rate, atOnce := "", ""
			if t.Rate > 0 {
				rate = strconv.FormatFloat(t.Rate, 'g', 4, 64) + "/s"
			}
			if t.Concurrency > 0 {
				atOnce = strconv.Itoa(t.Concurrency)
			}
			return []string{t.Name, string(t.State), strconv.Itoa(t.Failures), again, strconv.FormatInt(t.Waiting, 10), rate, atOnce, strings.Join(t.Apps, ", "), t.LastError}
		}))
	return cmd
}

// Targets lists the targets of the configuration, with those that requests
// still wait for.
func (s service) Targets(ctx context.Context) (list []api.Target, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		list, err = s.targets(ctx, t)
		return err
	})
	return list, err
}

func (d *daemon) targets(ctx context.Context, t *store.Tx) ([]api.Target, error) {
	known := map[string]*api.Target{}
	for _, a := range d.current.Load().config.Apps {
		for _, l := range d.targetLimits(&host.UserProvisioningConfig{AppName: a.Name, NamedCredentialId: a.Credential}) {
			if known[l.Name] == nil {
				known[l.Name] = &api.Target{TargetState: &host.TargetState{Name: l.Name}, Rate: l.PerSecond, Concurrency: l.Concurrency, Apps: l.Apps}
			}
		}
	}
	states, err := t.TargetStates(ctx)
	if err != nil {
		return nil, err
	}
	waiting, err := t.CountWaiting(ctx)
	if err != nil {
		return nil, err
	}
	for _, state := range states {
		one := known[state.Name]
		if one == nil && waiting[state.Name] == 0 {
			continue // the configuration has it no more
		}
		if one == nil {
			one = &api.Target{Apps: []string{}}
			known[state.Name] = one
		}
		one.TargetState = state
	}
	var list []api.Target
	for _, name := range slices.Sorted(maps.Keys(known)) {
		one := known[name]
		one.State, one.Waiting = one.Breaker(time.Now()), waiting[name]
		list = append(list, *one)
	}
	return list, nil
}

func since(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// targetMetrics are the targets as Prometheus sees them.
func targetMetrics(list []api.Target) map[string]metrics.Target {
	out := map[string]metrics.Target{}
	for _, t := range list {
		if !strings.HasPrefix(t.Name, provision.AppTarget("")) {
			out[t.Name] = metrics.Target{State: t.State, Since: since(t.Since), Waiting: t.Waiting}
		}
	}
	return out
}
