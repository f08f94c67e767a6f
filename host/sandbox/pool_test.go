package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// holding is an Env whose calls stay in their callout until let go.
type holding struct {
	in   chan string // a tenant, when its call is in the callout
	free chan struct{}
}

func (h holding) env(tenant string) Env {
	return Env{Tenant: tenant, HTTP: func(ctx context.Context, _ *HTTPRequest) *HTTPResponse {
		h.in <- tenant
		select {
		case <-h.free:
		case <-ctx.Done():
		}
		return &HTTPResponse{Status: 201, Body: []byte(`{"id":"1","userName":"u"}`)}
	}}
}

func TestAsManyInstancesAsThereMayBeAreMadeForCallsAtOnce(t *testing.T) {
	m := connector(t, Options{}, Limits{Instances: 6})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		all.Go(func() { _, _, errs[n] = m.Call(t.Context(), "create", create(n), h.env("acme")) })
	}
	for range 6 { // the callouts of six calls are under way at once
		<-h.in
	}
	require.Equal(t, 6, m.Pool().Instances)
	close(h.free)
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

func TestTenantsTakeTurnsWhereInstancesAreScarce(t *testing.T) {
	m := connector(t, Options{}, Limits{Instances: 1})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	call := func(tenant string, waiting int) {
		all.Go(func() { _, _, _ = m.Call(t.Context(), "create", create(1), h.env(tenant)) })
		for m.Pool().Waiting < waiting {
			runtime.Gosched() // nothing tells when a call begins to wait
		}
	}
	call("busy", 0)
	require.Equal(t, "busy", <-h.in)
	for n := range 5 {
		call("busy", n+1)
	}
	call("quiet", 6)
	h.free <- struct{}{}
	require.Equal(t, "busy", <-h.in)
	h.free <- struct{}{}
	require.Equal(t, "quiet", <-h.in, "it came last and is not behind all of the others")
	close(h.free)
	all.Wait()
	require.Zero(t, m.Pool().Waiting)
}

func TestAWaitIsBoundedAndCounted(t *testing.T) {
	m := connector(t, Options{}, Limits{Instances: 1, Wait: 20 * time.Millisecond})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() { _, _, _ = m.Call(t.Context(), "create", create(1), h.env("a")) })
	<-h.in
	_, usage, err := m.Call(t.Context(), "create", create(2), h.env("b"))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, KindBusy, e.Kind)
	require.Positive(t, usage.Waited)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = m.Call(ctx, "create", create(3), h.env("b"))
	require.ErrorAs(t, err, &e)
	require.Equal(t, KindCancelled, e.Kind)
	require.EqualValues(t, 1, m.Pool().Refusals)
	close(h.free)
	all.Wait()
	_, _, err = m.Call(t.Context(), "create", create(4), created(4))
	require.NoError(t, err, "a wait in vain leaves nothing behind")
}

func TestAllSandboxesTogetherHaveACeiling(t *testing.T) {
	m := connector(t, Options{MemoryBytes: 12 << 20}, Limits{Instances: 8, Wait: 20 * time.Millisecond})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		all.Go(func() {
			_, _, errs[n] = m.Call(t.Context(), "create", create(n), h.env(fmt.Sprint(n)))
		})
	}
	<-h.in
	for m.Pool().Refusals == 0 {
		runtime.Gosched() // nothing tells when a wait has ended
	}
	close(h.free)
	all.Wait()
	busy := 0
	for _, err := range errs {
		if e := new(Error); errors.As(err, &e) {
			require.Equal(t, KindBusy, e.Kind, "%v", err)
			busy++
		}
	}
	require.Positive(t, busy)
	require.Less(t, busy, 8)
}

func TestInstancesAtRestAreGivenBack(t *testing.T) {
	m := connector(t, Options{}, Limits{Instances: 4, IdleInstances: 1})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() { _, _, _ = m.Call(t.Context(), "create", create(n), h.env("a")) })
	}
	for range 4 {
		<-h.in
	}
	close(h.free)
	all.Wait()
	m.pool.resetUsed()
	require.Equal(t, 4, m.Pool().Idle)
	before := m.runtime.MemoryBytes()
	require.Equal(t, 3, m.pool.trim(time.Now().Add(time.Hour), m.limits.IdleInstances))
	require.Equal(t, 1, m.Pool().Instances)
	require.Less(t, m.runtime.MemoryBytes(), before)
}

func TestClosingWaitsForTheCallsUnderWay(t *testing.T) {
	r, err := New(t.Context(), Options{CacheDir: cacheDir})
	require.NoError(t, err)
	m := connectorIn(t, r, Limits{})
	h := holding{make(chan string, 20), make(chan struct{})}
	result := make(chan error, 1)
	go func() {
		_, _, err := m.Call(context.Background(), "create", create(1), h.env("a"))
		result <- err
	}()
	<-h.in
	closed := make(chan error, 1)
	go func() { closed <- m.Close(context.Background()) }()
	h.free <- struct{}{}
	require.NoError(t, <-result)
	require.NoError(t, <-closed)
	require.NoError(t, r.Close(context.Background()))
}

func TestInstancesAtRestMakeRoomForAnotherModules(t *testing.T) {
	r, err := New(t.Context(), Options{CacheDir: cacheDir, MemoryBytes: 10 << 20})
	require.NoError(t, err)
	a, b := connectorIn(t, r, Limits{Instances: 2}), connectorIn(t, r, Limits{Instances: 2, Time: 9 * time.Second})
	h := holding{make(chan string, 20), make(chan struct{})}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { _, _, _ = a.Call(t.Context(), "create", create(1), h.env("a")) })
	}
	<-h.in
	<-h.in
	close(h.free)
	all.Wait()
	require.Equal(t, 2, a.Pool().Idle)
	_, _, err = b.Call(t.Context(), "create", create(1), created(1))
	require.NoError(t, err)
	require.Less(t, a.Pool().Instances, 2)
	require.NoError(t, a.Close(context.Background()))
	require.NoError(t, b.Close(context.Background()))
	require.Zero(t, r.MemoryBytes())
	require.NoError(t, r.Close(context.Background()))
}

// TestManyCallsLeaveNothingBehind makes as many calls as PROVOST_CALLS says.
func TestManyCallsLeaveNothingBehind(t *testing.T) {
	calls, err := strconv.Atoi(cmp.Or(os.Getenv("PROVOST_CALLS"), "2000"))
	require.NoError(t, err)
	m := connector(t, Options{Warm: "describe"}, Limits{Instances: 1}) // or their number changes
	var memory runtime.MemStats
	state := func() (heap uint64, goroutines int, sandboxes int64) {
		m.pool.resetUsed()
		runtime.GC()
		runtime.ReadMemStats(&memory)
		return memory.HeapAlloc, runtime.NumGoroutine(), m.runtime.MemoryBytes()
	}
	run := func(n int) {
		for i := range n {
			_, _, err := m.Call(t.Context(), "create", create(i%1000), created(i%1000))
			require.NoError(t, err)
		}
	}
	run(1000) // all that grows once has grown
	heap, goroutines, sandboxes := state()
	run(calls)
	heapNow, goroutinesNow, sandboxesNow := state()
	t.Logf("%d calls: heap %d to %d bytes, %d to %d goroutines, sandboxes %d to %d bytes", calls, heap, heapNow, goroutines, goroutinesNow, sandboxes, sandboxesNow)
	require.Less(t, heapNow, heap+1<<20)
	require.LessOrEqual(t, goroutinesNow, goroutines+1)
	require.LessOrEqual(t, sandboxesNow, sandboxes)
}
