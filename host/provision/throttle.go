package provision

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// A target is what stands behind a named credential. All workers on all
// machines treat it with the same care: so many requests in a time, so many at
// once, none before the time that it asked for (Retry-After), and none at all
// while it is down, but one now and then that asks whether it is back (the
// circuit breaker). A request that may not go on waits without a job and keeps
// its life; [Engine.Sweep] and the ends of other requests let it go on, the
// oldest first.

// TargetLimits are the bounds of one target, for one app that calls it.
type TargetLimits struct {
	// Name is that of the [host.TargetState]; Apps are all that count for it.
	Name string
	Apps []string
	// PerSecond is the most attempts in a second, Concurrency the most at once;
	// 0 for no bound.
	PerSecond   float64
	Concurrency int
	// Failures in a row open the breaker (0: never) for Rest, then for twice as
	// long, up to mostRest.
	Failures int
	Rest     time.Duration
	// Authorized: nothing can be asked before a person has authorized it;
	// PerUser: each person, for what is done for him.
	Authorized, PerUser bool
	// Held is why nothing can be asked at all, such as a connector in quarantine;
	// "" where it can.
	Held string
}

const (
	mostRest = 10 * time.Minute
	// mostAhead is how long a worker waits for its turn by the rate, or for one turn
	// more where that is longer, up to mostTurn: a run that asks for page after page
	// has reserved the next turn already. Who would wait longer gives the worker free.
	mostAhead = 300 * time.Millisecond
	mostTurn  = 5 * time.Second
	// answeredEvery bounds how often an answer of a healthy target is noted.
	answeredEvery = 2 * time.Second
	// mostReleased is how many requests one sweep lets go on per target.
	mostReleased = 200
)

func (l TargetLimits) bounded() bool { return l.PerSecond > 0 || l.Concurrency > 0 }

func clean(t *host.TargetState) bool {
	return t.Failures == 0 && t.RestUntil == nil && t.RetryAfter == nil
}

// admission is whether an attempt may begin.
type admission struct {
	// at is when, a moment ahead at most.
	at time.Time
	// waitsFor is the target that the request must wait for, and why; why is
	// empty where it only waits for its turn.
	waitsFor, why string
}

// admit decides whether a request may be tried now, and if so takes its turn.
func (e *Engine) admit(ctx context.Context, tx Tx, limits []TargetLimits, r *host.UserProvisioningRequest) (admission, error) {
	now := e.Now().UTC()
	got := admission{at: now}
	var changed []*host.TargetState
	for _, l := range limits {
		if l.Held != "" {
			return admission{waitsFor: l.Name, why: l.Held}, nil
		}
		if name, why, err := e.unauthorized(ctx, tx, l, r, now); err != nil || name != "" {
			return admission{waitsFor: name, why: why}, err
		}
		t, err := tx.TargetState(ctx, l.Name, l.bounded())
		if err != nil {
			return got, err
		}
		if !l.bounded() && !clean(t) {
			if t, err = tx.TargetState(ctx, l.Name, true); err != nil {
				return got, err
			}
		}
		wait := func(format string, args ...any) admission {
			return admission{waitsFor: l.Name, why: fmt.Sprintf(format, args...)}
		}
		touched := false
		switch t.Breaker(now) {
		case host.BreakerOpen:
			return wait("%s is left alone until %s: %s", l.Name, t.RestUntil.Local().Format(time.TimeOnly), t.LastError), nil
		case host.BreakerHalfOpen:
			if t.ProbeId != "" && t.ProbeId != r.Id {
				return wait("%s may be back; another request asks: %s", l.Name, t.LastError), nil
			}
			first, err := tx.Waiting(ctx, l.Name, 1)
			if err != nil {
				return got, err
			}
			if len(first) > 0 && first[0].Number < r.Number && !r.Urgent {
				return wait("%s may be back; %s asks first: %s", l.Name, first[0].Name(), t.LastError), nil
			}
			touched, t.ProbeId = true, r.Id
		}
		if t.RetryAfter != nil {
			if now.Before(*t.RetryAfter) {
				return wait("%s asked to be left alone until %s", l.Name, t.RetryAfter.Local().Format(time.TimeOnly)), nil
			}
			t.RetryAfter, touched = nil, true
		}
		if l.Concurrency > 0 {
			n, err := tx.CountInFlight(ctx, l.Apps)
			if err != nil {
				return got, err
			}
			if n >= l.Concurrency {
				return admission{waitsFor: l.Name}, nil
			}
		}
		if l.PerSecond > 0 {
			turn := now
			if t.NextDate != nil && t.NextDate.After(now) {
				turn = *t.NextDate
			}
			interval := time.Duration(float64(time.Second) / l.PerSecond)
			if turn.Sub(now) > mostAhead+min(mostTurn, interval) {
				return admission{waitsFor: l.Name}, nil
			}
			next := turn.Add(interval)
			t.NextDate, touched = &next, true
			if turn.After(got.at) {
				got.at = turn
			}
		}
		if touched {
			changed = append(changed, t)
		}
	}
	for _, t := range changed {
		if err := tx.PutTargetState(ctx, t); err != nil {
			return got, err
		}
	}
	return got, nil
}

// Admit decides whether a run of a reconciliation may ask its target now:
// it returns when, a moment ahead at most, or the target that it must wait for.
func (e *Engine) Admit(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest) (at time.Time, waitsFor, why string, err error) {
	turn, err := e.admit(ctx, tx, e.Limits(app), r)
	return turn.at, turn.waitsFor, turn.why, err
}

// Note stores what a call of a reconciliation says of the target. It returns
// the target that the run must wait for, "" for none, and whether a failure was
// the run's own.
func (e *Engine) Note(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest, trace *host.CallTrace, cause error) (waitsFor string, own bool, err error) {
	own, waitsFor, err = e.noteTargets(ctx, tx, e.Limits(app), r, r.StartedDate, judge(trace, cause))
	return waitsFor, own, err
}

// unauthorized is the authorization that a request must wait for before a
// target can be asked, and why; "" for none.
func (e *Engine) unauthorized(ctx context.Context, tx Tx, l TargetLimits, r *host.UserProvisioningRequest, now time.Time) (name, why string, err error) {
	if !l.Authorized {
		return "", "", nil
	}
	user := ""
	if l.PerUser {
		if user = r.UserId; user == "" {
			return "", "", nil // the credential itself says why that can't be
		}
	}
	a, err := tx.Authorization(ctx, l.Name, user, false)
	if err != nil {
		return "", "", err
	}
	if why = a.Wants(now); why == "" {
		return "", "", nil
	}
	return host.AuthorizationTarget(l.Name, user), why, nil
}

// verdict is what an attempt says of its target.
type verdict struct {
	// down: the target gave no answer, or none that is its own (429, 5xx).
	down bool
	// silent: it was not asked at all.
	silent bool
	// retryAfter is how long it asked to be left alone, 0 if it did not.
	retryAfter time.Duration
	// err is what it failed with.
	err string
	// unauthorized: it could not be signed in before a person authorizes.
	unauthorized bool
}

// judge looks at what the host itself saw of the target, not at what the
// connector makes of it.
func judge(trace *host.CallTrace, err error) verdict {
	v := verdict{silent: true}
	for _, c := range trace.Callouts {
		if c.WaitsFor != "" {
			v.unauthorized = true
			continue // it did not go out
		}
		if !c.OfTarget() {
			continue
		}
		v.silent = false
		v.down = c.Status == 0 && c.Error != "" || c.Status == 429 || c.Status >= 500
		if v.err = c.Error; v.err == "" && v.down {
			v.err = fmt.Sprintf("%s answered %d", c.Method, c.Status)
		}
		v.retryAfter = c.RetryAfter
	}
	if v.down {
		// What the host saw, whatever the connector makes of it.
		v.retryAfter = max(v.retryAfter, retryAfterOf(err))
	}
	return v
}

// noteTargets stores what an attempt says of its targets. It returns whether
// its failure counts against the request: one that the target would not have
// answered for anybody does not. next is the target that the request must wait
// for now, "" for none.
func (e *Engine) noteTargets(ctx context.Context, tx Tx, limits []TargetLimits, r *host.UserProvisioningRequest, before *time.Time, v verdict) (own bool, next string, err error) {
	own = true
	now := e.Now().UTC()
	for _, l := range limits {
		if v.unauthorized {
			// It is what the request waits for, unless somebody has authorized it
			// meanwhile; it is no failure in either case.
			if next, _, err = e.unauthorized(ctx, tx, l, r, now); err != nil || next != "" {
				return false, next, err
			}
			own = false
		}
		if strings.HasPrefix(l.Name, appTarget) {
			continue // bounds only; the target behind is the credential's
		}
		t, err := tx.TargetState(ctx, l.Name, false)
		if err != nil {
			return own, next, err
		}
		healthy := !v.down && clean(t) && t.ProbeId == ""
		if v.silent && t.ProbeId != r.Id || healthy && t.Answered != nil && now.Sub(*t.Answered) < answeredEvery {
			continue
		}
		if t, err = tx.TargetState(ctx, l.Name, true); err != nil {
			return own, next, err
		}
		state := t.Breaker(now)
		if t.ProbeId == r.Id {
			t.ProbeId = ""
		}
		switch {
		case v.silent:
		case !v.down:
			if state != host.BreakerClosed {
				e.Logger.InfoContext(ctx, "the target is back", "target", l.Name, "away", now.Sub(*t.Since).Round(time.Second))
			}
			t.Failures, t.Since, t.RestUntil, t.LastError, t.Answered = 0, nil, nil, "", &now
		default:
			own = t.Answered != nil && before != nil && t.Answered.After(*before)
			t.LastError = clip(v.err, 300)
			if state != host.BreakerOpen { // the late failures of one fall are not many falls
				t.Failures++
			}
			if t.Since == nil {
				t.Since = &now
			}
			if v.retryAfter > 0 {
				until := now.Add(min(v.retryAfter, 24*time.Hour))
				t.RetryAfter, next = &until, l.Name
			}
			if l.Failures > 0 && t.Failures >= l.Failures && state != host.BreakerOpen {
				rest := min(mostRest, l.Rest<<min(10, t.Failures-l.Failures))
				until := now.Add(rest)
				t.RestUntil = &until
				e.Logger.WarnContext(ctx, "the target is left alone", "target", l.Name, "failures", t.Failures, "for", rest, "error", t.LastError)
			}
			if t.RestUntil != nil {
				next = l.Name
			}
		}
		if err := tx.PutTargetState(ctx, t); err != nil {
			return own, next, err
		}
	}
	return own, next, nil
}

// appTarget begins the names of the states that bound one app.
const appTarget = "app:"

// AppTarget is the name of the state that bounds one app.
func AppTarget(app string) string { return appTarget + app }

// release lets requests that wait for a target go on.
func (e *Engine) release(ctx context.Context, tx Tx, name string, most int) (int, error) {
	list, err := tx.Waiting(ctx, name, most)
	if err != nil {
		return 0, err
	}
	for _, r := range list {
		if err := e.enqueue(ctx, tx, r, time.Time{}); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// Sweep lets those requests go on whose target can be asked again. It is to be
// called about once a second, on any number of machines.
func (e *Engine) Sweep(ctx context.Context) error {
	var names []string
	var limits map[string]TargetLimits
	err := e.Store.View(ctx, func(tx Tx) error {
		var err error
		if names, err = tx.WaitedFor(ctx); err != nil || len(names) == 0 {
			return err
		}
		apps, err := tx.Configs(ctx)
		limits = map[string]TargetLimits{}
		for _, app := range apps {
			for _, l := range e.Limits(app) {
				limits[l.Name] = l
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.Store.Update(ctx, func(tx Tx) error { return e.sweep(ctx, tx, name, limits[name]) }); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) sweep(ctx context.Context, tx Tx, name string, l TargetLimits) error {
	now := e.Now().UTC()
	if _, ok := host.ConnectorOfTarget(name); ok {
		if l.Held != "" {
			return nil
		}
		_, err := e.release(ctx, tx, name, mostReleased)
		return err
	}
	if credential, user, ok := host.AuthorizationOfTarget(name); ok {
		a, err := tx.Authorization(ctx, credential, user, false)
		if err == nil && a.Usable(now) {
			_, err = e.release(ctx, tx, name, mostReleased)
		}
		return err
	}
	t, err := tx.TargetState(ctx, name, true)
	if err != nil {
		return err
	}
	most := mostReleased
	switch t.Breaker(now) {
	case host.BreakerOpen:
		return nil
	case host.BreakerHalfOpen:
		if t.ProbeId != "" {
			probe, err := tx.Request(ctx, t.ProbeId)
			if err == nil && (probe.Queued || probe.InFlight) && !probe.State.Ended() {
				return nil
			}
			if err != nil && host.CodeOf(err) != host.NotFound {
				return err
			}
			t.ProbeId = "" // it went another way
			if err := tx.PutTargetState(ctx, t); err != nil {
				return err
			}
		}
		most = 1
	}
	if t.RetryAfter != nil && now.Before(*t.RetryAfter) {
		return nil
	}
	if l.Concurrency > 0 {
		n, err := tx.CountInFlight(ctx, l.Apps)
		if err != nil {
			return err
		}
		most = min(most, max(0, l.Concurrency-n))
	}
	if l.PerSecond > 0 {
		// As many as have their turn before the next sweep.
		most = min(most, max(1, int(l.PerSecond*1.5)))
	}
	if most == 0 {
		return nil
	}
	_, err = e.release(ctx, tx, name, most)
	return err
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
