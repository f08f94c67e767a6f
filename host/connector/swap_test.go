package connector_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/pdk"
)

// judged collects verdicts, and is the clock.
type judged struct {
	mu       sync.Mutex
	verdicts []connector.Verdict
	at       time.Time
}

func (j *judged) options() connector.Options {
	j.at = time.Unix(1_000_000, 0)
	return connector.Options{Now: j.now, Judged: func(v connector.Verdict) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.verdicts = append(j.verdicts, v)
	}}
}

func (j *judged) now() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.at
}

func (j *judged) pass(d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at = j.at.Add(d)
}

// one waits for the only verdict.
func (j *judged) one(t *testing.T) connector.Verdict {
	t.Helper()
	var list []connector.Verdict
	require.Eventually(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		list = j.verdicts
		return len(list) > 0
	}, 10*time.Second, time.Millisecond)
	require.Len(t, list, 1)
	return list[0]
}

// calls makes calls with a key each, and counts them by version.
func calls(t *testing.T, c *connector.Catalogue, n int, what string) map[string]int {
	t.Helper()
	by := map[string]int{}
	for i := range n {
		k, release, err := c.Acquire(t.Context(), "a", fmt.Sprintf("request-%d", i))
		require.NoError(t, err)
		by[k.Describe().Version]++
		_, _, _ = k.Call(t.Context(), pdk.OpUpdate, do(what)) // what it is for may be to fail
		release()
	}
	return by
}

func TestABuildThatServesAlreadyIsNotLoadedAgain(t *testing.T) {
	c := newCatalogue(t, connector.Options{})
	spec := connector.Spec{Name: "a", Wasm: odd, Settings: map[string]any{"region": "eu"}}
	require.NoError(t, c.Load(t.Context(), spec))
	before := c.List()[0]
	spec.Sum = before.Digest
	p, err := c.Prepare(t.Context(), spec)
	require.NoError(t, err)
	require.False(t, p.Changed())
	require.Equal(t, "odd", p.Describe().Name)
	require.NoError(t, p.Take())
	require.Equal(t, before, c.List()[0])

	spec.Settings = map[string]any{"region": "us"}
	p, err = c.Prepare(t.Context(), spec)
	require.NoError(t, err)
	require.True(t, p.Changed(), "it has other settings")
	p.Drop()
	require.Equal(t, before, c.List()[0], "what was dropped was never there")
}

func TestABuildThatCanDoLessStaysOutUnlessThatIsMeant(t *testing.T) {
	c := newCatalogue(t, connector.Options{})
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: odd}))
	less := changed(t, `"discover"`, `"describe"`, `1.0.0`, `1.0.1`)
	err := c.Load(t.Context(), connector.Spec{Name: "a", Wasm: less})
	require.Equal(t, host.Conflict, host.CodeOf(err))
	require.ErrorContains(t, err, "odd 1.0.1 can't do any more what 1.0.0 does: discover")
	require.Equal(t, "1.0.0", c.List()[0].Version)
	err = c.Load(t.Context(), connector.Spec{Name: "a", Wasm: changed(t, `"name":"odd"`, `"name":"add"`)})
	require.ErrorContains(t, err, "add 1.0.0 is another connector than odd 1.0.0")
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: less, Incompatible: true}))
	require.Equal(t, "1.0.1", c.List()[0].Version)
}

func TestWhatIsNotGrantedDoesNotWork(t *testing.T) {
	var denied []string
	c := newCatalogue(t, connector.Options{Denied: func(name, what, request string) { denied = append(denied, name+" "+what+" "+request) }})
	p, err := c.Prepare(t.Context(), connector.Spec{Name: "a", Wasm: odd, Granted: &host.Reach{Operations: []string{"create"}}})
	require.NoError(t, err)
	wants := connector.ReachOf(p.Describe())
	require.Contains(t, wants.Operations, "update")
	require.Equal(t, []string{host.AnyProtocol}, wants.Protocols)
	require.NoError(t, p.Take())
	k, release, err := c.Acquire(t.Context(), "a", "")
	require.NoError(t, err)
	defer release()
	_, _, err = k.Call(t.Context(), pdk.OpUpdate, do(`{}`))
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
	require.ErrorContains(t, err, "provost plugin grant a")
	require.Equal(t, []string{"a update request-1"}, denied)
	_, _, err = k.Call(t.Context(), pdk.OpCreate, do(`{"ExternalUserId":"1"}`))
	require.NoError(t, err)

	p, err = c.Prepare(t.Context(), connector.Spec{Name: "a", Wasm: changed(t, `1.0.0`, `1.0.1`), Granted: &host.Reach{Operations: []string{"create"}}})
	require.NoError(t, err)
	p.Hold(wants)
	info := c.List()[0]
	require.Equal(t, "1.0.0", info.Version, "the old one goes on")
	require.Equal(t, "1.0.1", info.Waiting.Version)
	require.Contains(t, info.Waiting.Wants.Operations, "update")
}

func TestANewBuildGetsAShareOfTheRequestsFirstAndThenAll(t *testing.T) {
	j := new(judged)
	c := newCatalogue(t, j.options())
	rollout := connector.Rollout{Canary: 0.2, CanaryTime: time.Minute, Within: time.Minute, Above: 0.1, Calls: 10}
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: odd, Rollout: rollout}))
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: changed(t, `1.0.0`, `1.0.1`), Rollout: rollout}))
	by := calls(t, c, 200, `{}`)
	require.InDelta(t, 40, by["1.0.1"], 25)
	require.Equal(t, by, calls(t, c, 200, `{}`), "all calls of one request go to one build")
	require.Equal(t, 2*by["1.0.1"], c.List()[0].Next.Calls)
	j.pass(time.Minute)
	c.Tick()
	require.Equal(t, map[string]int{"1.0.1": 20}, calls(t, c, 20, `{}`))
	v := j.one(t)
	require.Equal(t, connector.Promoted, v.Decision)
	require.Equal(t, "1.0.1", v.Version)
	require.Nil(t, c.List()[0].Next)
}

func TestABuildThatFailsMoreLosesItsShare(t *testing.T) {
	j := new(judged)
	c := newCatalogue(t, j.options())
	rollout := connector.Rollout{Canary: 0.5, CanaryTime: time.Minute, Above: 0.1, Calls: 10}
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: odd, Rollout: rollout}))
	old := c.List()[0].Digest
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: changed(t, `1.0.0`, `1.0.1`), Rollout: rollout}))
	for i := range 200 {
		k, release, err := c.Acquire(t.Context(), "a", fmt.Sprint(i))
		require.NoError(t, err)
		what := `{}`
		if k.Describe().Version == "1.0.1" {
			what = `error:{"type":"InvalidInput","message":"no"}`
		}
		_, _, _ = k.Call(t.Context(), pdk.OpUpdate, do(what)) // half of them are to fail
		release()
	}
	v := j.one(t)
	require.Equal(t, connector.RolledBack, v.Decision)
	require.Equal(t, old, v.Before)
	require.Equal(t, "100 % of its 10 calls failed, 0 % of those of the build before", v.Reason)
	require.Equal(t, map[string]int{"1.0.0": 50}, calls(t, c, 50, `{}`))
}

func TestABuildThatFailsMoreThanTheOneBeforeIsToGoBack(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		pass          time.Duration
		back          bool
	}{
		"it fails":                       {`{}`, `error:{"type":"InvalidInput","message":"no"}`, 0, true},
		"it traps":                       {`{}`, "trap", 0, true},
		"both fail":                      {`error:{"type":"InvalidInput","message":"no"}`, `error:{"type":"InvalidInput","message":"no"}`, 0, false},
		"the target is down":             {`{}`, `error:{"type":"Unavailable","message":"503"}`, 0, false},
		"it fails after its first hours": {`{}`, `error:{"type":"InvalidInput","message":"no"}`, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := new(judged)
			cat := newCatalogue(t, j.options())
			rollout := connector.Rollout{Within: time.Minute, Above: 0.1, Calls: 10}
			spec := connector.Spec{Name: "a", Wasm: odd, Rollout: rollout, Quarantine: connector.Quarantine{Faults: 5, Window: time.Minute}}
			require.NoError(t, cat.Load(t.Context(), spec))
			old := cat.List()[0].Digest
			spec.Quarantine = connector.Quarantine{}
			calls(t, cat, 20, c.before)
			spec.Wasm = changed(t, `1.0.0`, `1.0.1`)
			require.NoError(t, cat.Load(t.Context(), spec))
			j.pass(c.pass)
			require.Equal(t, map[string]int{"1.0.1": 10}, calls(t, cat, 10, c.after))
			if !c.back {
				require.NoError(t, cat.Close(context.Background()))
				require.Empty(t, j.verdicts)
				return
			}
			v := j.one(t)
			require.Equal(t, connector.RolledBack, v.Decision)
			require.Equal(t, old, v.Before)
		})
	}
}

func TestABuildThatTrapsTooOftenIsTakenOutUntilItIsLetBackOrAnotherComes(t *testing.T) {
	j := new(judged)
	c := newCatalogue(t, j.options())
	spec := connector.Spec{Name: "a", Wasm: odd, Quarantine: connector.Quarantine{Faults: 3, Window: time.Minute}}
	require.NoError(t, c.Load(t.Context(), spec))
	calls(t, c, 2, "trap")
	j.pass(2 * time.Minute)
	calls(t, c, 2, "trap")
	require.Empty(t, c.OutOf("a"), "not so many within a minute")
	calls(t, c, 1, "trap")
	v := j.one(t)
	require.Equal(t, connector.TakenOut, v.Decision)
	require.Contains(t, v.Reason, "3 calls within 1m0s trapped or broke a limit; the last: connector a 1.0.0: update")
	_, _, err := c.Acquire(t.Context(), "a", "")
	require.Equal(t, host.Unavailable, host.CodeOf(err))
	require.ErrorContains(t, err, "quarantine")
	info := c.List()[0]
	require.Equal(t, connector.Quarantined, info.State)
	require.Contains(t, c.OutOf("a"), "quarantine")

	c.Bar("a", info.Digest, "")
	require.Empty(t, c.OutOf("a"))
	calls(t, c, 1, "trap")
	require.Empty(t, c.OutOf("a"), "what was before does not count any more")
	c.Bar("a", info.Digest, "a person said so")
	require.NotEmpty(t, c.OutOf("a"))
	spec.Wasm = changed(t, `1.0.0`, `1.0.1`)
	require.NoError(t, c.Load(t.Context(), spec))
	require.Empty(t, c.OutOf("a"), "another build has done nothing wrong yet")
}

func TestAnEarlierBuildIsOpenedAgainForWhoBeganWithIt(t *testing.T) {
	j := new(judged)
	o := j.options()
	newer := changed(t, `1.0.0`, `1.0.1`)
	opened := 0
	o.Build = func(_ context.Context, name, digest string) (connector.Spec, error) {
		opened++
		return connector.Spec{Name: name, Wasm: odd}, nil
	}
	c := newCatalogue(t, o)
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: odd}))
	old := c.List()[0].Digest
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: newer}))
	for range 2 {
		k, release, err := c.AcquireBuild(t.Context(), "a", old)
		require.NoError(t, err)
		_, trace, err := k.Call(t.Context(), pdk.OpUpdate, do(`{}`))
		require.NoError(t, err)
		require.Equal(t, old, trace.Digest)
		require.Equal(t, "a 1.0.0", trace.Connector)
		release()
	}
	require.Equal(t, 1, opened)
	j.pass(time.Minute)
	c.Tick()
	_, release, err := c.AcquireBuild(t.Context(), "a", old)
	require.NoError(t, err)
	release()
	require.Equal(t, 2, opened, "it was closed when nobody needed it")
	_, _, err = c.AcquireBuild(t.Context(), "a", "00ff")
	require.Equal(t, host.Unavailable, host.CodeOf(err), "what is had is not what was asked for")
	k, release, err := c.AcquireBuild(t.Context(), "a", c.List()[0].Digest)
	require.NoError(t, err)
	require.Equal(t, "1.0.1", k.Describe().Version)
	release()
}

func TestCallsWaitForABuildThatIsBeingLoaded(t *testing.T) {
	c := newCatalogue(t, connector.Options{})
	c.Expect("a", "odd.wasm", pdk.Description{Name: "odd", Version: "1.0.0", Operations: []pdk.Operation{pdk.OpUpdate}})
	require.Equal(t, connector.Loading, c.List()[0].State)
	require.Equal(t, "odd", c.Describe("a").Name)
	require.Empty(t, c.OutOf("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := c.Acquire(ctx, "a", "")
	require.Equal(t, host.Cancelled, host.CodeOf(err))
	got := make(chan error)
	go func() {
		_, release, err := c.Acquire(t.Context(), "a", "")
		if err == nil {
			release()
		}
		got <- err
	}()
	require.NoError(t, c.Load(t.Context(), connector.Spec{Name: "a", Wasm: odd}))
	require.NoError(t, <-got)

	c.Expect("b", "b.wasm", pdk.Description{})
	c.Refuse("b", "b.wasm", host.Errorf(host.InvalidInput, "no"))
	_, _, err = c.Acquire(t.Context(), "b", "")
	require.ErrorContains(t, err, "could not be loaded: no")
	require.Contains(t, c.OutOf("b"), "could not be loaded")
}
