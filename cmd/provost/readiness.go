package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/queue"
	"github.com/provosthq/provost/host/store"
)

const (
	// readyWithin is how long a probe may take: who asks often waits a second or
	// a few.
	readyWithin = 3 * time.Second
	// longestDue is how long a job may wait that could be worked.
	longestDue = 5 * time.Minute
)

// ready answers a probe.
func (d *daemon) ready(w http.ResponseWriter, r *http.Request) { api.ReadinessPage(service{d})(w, r) }

// silent tells whether the daemon is ready, and not why.
type silent struct{ service }

func (s silent) Readiness(ctx context.Context) api.Readiness {
	return api.Readiness{Status: s.service.Readiness(ctx).Status, Checks: []api.Check{}}
}

// Readiness looks at what can be seen at once. What only some of the work needs
// is a warning: were every daemon taken out of service for one connector, the
// others would not be served either.
func (s service) Readiness(ctx context.Context) api.Readiness {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	checks := []api.Check{s.checkDaemon(), s.checkRunningConfig()}
	database := s.checkDatabase(ctx)
	checks = append(checks, database)
	if database.Status == api.CheckOK {
		checks = append(checks, s.checkQueue(ctx))
	}
	checks = append(checks, s.checkConnectors()...)
	if database.Status == api.CheckOK {
		checks = append(checks, s.checkAuthorized(ctx)...)
	}
	return api.ReadinessOf(checks)
}

func (s service) checkDaemon() api.Check {
	return api.Check{Name: "daemon", Status: api.CheckOK, Reason: "provost " + version, Since: s.started}
}

func (s service) checkRunningConfig() api.Check {
	now := s.current.Load()
	if now.refused != "" {
		return api.Check{Name: "config", Status: api.CheckWarn, Reason: "the changed configuration is refused, and the one before goes on: " + now.refused,
			Next: "provost config validate " + now.config.File}
	}
	if places := sortedKeys(now.unused); len(places) > 0 {
		return api.Check{Name: "config", Status: api.CheckWarn, Reason: fmt.Sprintf("%d stored settings are not used: %s: %s", len(places), places[0], now.unused[places[0]]),
			Next: "provost setting list"}
	}
	return api.Check{Name: "config", Status: api.CheckOK, Reason: "the file is what runs"}
}

func (s service) checkDatabase(ctx context.Context) api.Check {
	began := time.Now()
	if err := s.store.Ping(ctx); err != nil {
		why := err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			why = fmt.Sprintf("the database does not answer within %s", readyWithin)
		}
		return api.Check{Name: "database", Status: api.CheckFail, Reason: why, Next: "see that it runs and that database.url is right"}
	}
	return api.Check{Name: "database", Status: api.CheckOK, Reason: fmt.Sprintf("%s answers in %s", s.store.Dialect(), time.Since(began).Round(100*time.Microsecond))}
}

// checkQueue looks whether jobs are worked by anybody.
func (s service) checkQueue(ctx context.Context) api.Check {
	var waiting map[string]queue.Waiting
	now := time.Now()
	err := s.store.View(ctx, func(t *store.Tx) (err error) {
		waiting, err = s.queue.Waiting(ctx, t.SQL(), now)
		return err
	})
	c := api.Check{Name: "queue", Status: api.CheckOK}
	if err != nil {
		c.Status, c.Reason = api.CheckFail, err.Error()
		return c
	}
	var depth int64
	for _, w := range waiting {
		depth += w.Depth
		if !w.Due.IsZero() && (c.Since.IsZero() || w.Due.Before(c.Since)) {
			c.Since = w.Due
		}
	}
	c.Reason = fmt.Sprintf("%d jobs wait or run", depth)
	if !c.Since.IsZero() && now.Sub(c.Since) > longestDue {
		c.Status, c.Reason = api.CheckWarn, fmt.Sprintf("%d jobs wait or run, and the oldest has waited for %s", depth, now.Sub(c.Since).Round(time.Second))
		c.Next = "see provost status; more workers, or another daemon on the same database, work faster"
		return c
	}
	c.Since = time.Time{}
	return c
}

// checkConnectors has a check for each connector that is named. Only where none
// can be called nothing can be done.
func (s service) checkConnectors() (checks []api.Check) {
	serving, stale := 0, s.current.Load().stale
	for _, p := range s.catalogue.List() {
		c := api.Check{Name: "connector " + p.Name, Status: api.CheckOK, Reason: p.Version}
		switch p.State {
		case connector.Serving:
			serving++
			if !p.LoadedAt.IsZero() {
				c.Since = p.LoadedAt
			}
			if why := stale[p.Name]; why != "" {
				c.Status, c.Reason = api.CheckWarn, p.Version+" serves: "+why
			}
			if why := s.unconnected.why(p.Name, p.Digest); why != "" {
				c.Status, c.Reason, c.Next = api.CheckWarn, p.Version+" serves, and "+why, "provost doctor"
			}
			if p.LastError != "" {
				c.Status, c.Reason = api.CheckWarn, fmt.Sprintf("%s goes on; the newer one is refused: %s", p.Version, p.LastError)
				c.Next = "provost plugin list"
			}
			if p.Waiting != nil {
				c.Status, c.Reason, c.Next = api.CheckWarn, p.Version+" goes on; the newer one wants more than it is granted", "provost plugin inspect "+p.Name
			}
		case connector.Loading:
			c.Status, c.Reason = api.CheckWarn, "it is being loaded; its requests wait"
		default:
			c.Status, c.Reason, c.Next = api.CheckWarn, "it is "+string(p.State)+", and its requests wait", "provost plugin list"
			for _, why := range []string{p.Reason, p.LastError} {
				if why != "" {
					c.Reason += ": " + why
					break
				}
			}
		}
		checks = append(checks, c)
	}
	if serving > 0 || len(checks) == 0 {
		return checks
	}
	for i := range checks {
		checks[i].Status = api.CheckFail
	}
	return checks
}

// checkAuthorized has a check for each credential that a person must authorize.
func (s service) checkAuthorized(ctx context.Context) (checks []api.Check) {
	list, err := s.Credentials(ctx)
	if err != nil {
		return []api.Check{{Name: "credentials", Status: api.CheckFail, Reason: err.Error()}}
	}
	for _, c := range list {
		if c.Wants != "" {
			checks = append(checks, wantsCheck(c))
		}
	}
	return checks
}

// wantsCheck is what a person must do before a credential can be used.
func wantsCheck(c api.Credential) api.Check {
	why, next, _ := strings.Cut(c.Wants, "   -> ")
	return api.Check{Name: "credential " + c.Name, Status: api.CheckWarn, Reason: why, Next: next}
}

// Failures counts what failed since a time, with what it failed at.
func (s service) Failures(ctx context.Context, since time.Time) (list []api.Failure, err error) {
	var counted []store.FailureCount
	if err := s.store.View(ctx, func(t *store.Tx) (err error) {
		counted, err = t.CountFailures(ctx, since)
		return err
	}); err != nil {
		return nil, err
	}
	apps := s.current.Load().config.Apps
	for _, c := range counted {
		f := api.Failure{App: c.AppName, Operation: c.Operation, Error: c.ErrorCode, Requests: c.Requests, Since: c.Since, Last: c.Last}
		for _, a := range apps {
			if a.Name == c.AppName {
				f.Connector, f.Target = a.Plugin, a.Credential
			}
		}
		list = append(list, f)
	}
	return list, nil
}

// Waits counts what has not ended, by what it waits for.
func (s service) Waits(ctx context.Context) (list []api.Wait, err error) {
	var counted []store.OpenCount
	if err := s.store.View(ctx, func(t *store.Tx) (err error) {
		counted, err = t.CountOpen(ctx, time.Now())
		return err
	}); err != nil {
		return nil, err
	}
	for _, c := range counted {
		list = append(list, api.Wait{App: c.AppName, For: c.WaitsFor, Requests: c.Requests, Since: c.Since})
	}
	slices.SortFunc(list, func(a, b api.Wait) int { return a.Since.Compare(b.Since) })
	return list, nil
}

// Activity counts what ended since a time.
func (s service) Activity(ctx context.Context, since time.Time) ([]api.Activity, error) {
	var counted []store.EndedCount
	known := map[string]bool{}
	if err := s.store.View(ctx, func(t *store.Tx) error {
		apps, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		for _, a := range apps {
			known[a.AppName] = true
		}
		counted, err = t.CountEnded(ctx, since)
		return err
	}); err != nil {
		return nil, err
	}
	type key struct {
		app  string
		hour time.Time
	}
	at, list := map[key]int{}, []api.Activity{}
	for _, c := range counted {
		if !known[c.AppName] {
			continue
		}
		k := key{c.AppName, c.Hour}
		if _, ok := at[k]; !ok {
			at[k] = len(list)
			list = append(list, api.Activity{App: c.AppName, Hour: c.Hour})
		}
		a := &list[at[k]]
		switch c.State {
		case host.StateCompleted, host.StateManuallyCompleted:
			a.Completed += c.Requests
			if c.Tried {
				a.Retried += c.Requests
			}
		case host.StateFailed, host.StateRetried:
			a.Failed += c.Requests
		}
	}
	return list, nil
}

// forPerson tells what only a person can end.
func forPerson(waitsFor string) bool {
	return slices.Contains([]string{"approval", "authorization", "review", "resume"}, waitsFor)
}

// failedChecks is the error of checks of which some failed, nil for none.
func failedChecks(checks []api.Check) error {
	n := 0
	for _, c := range checks {
		if c.Status == api.CheckFail {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return host.Errorf(host.Unavailable, "%d of %d checks failed", n, len(checks))
}
