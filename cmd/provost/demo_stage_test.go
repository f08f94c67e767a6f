package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// A demo that stays shows every state that a request and an account can have,
// until it is interrupted.
func TestADemoThatStaysHasEveryStateToLookAt(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), 3*time.Minute)
	defer interrupt()
	dir, out := t.TempDir(), new(logBuffer)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--stay", "--listen", "127.0.0.1:0", "--dir", dir}, nil, out, io.Discard)
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "Look at it: ") || len(ended) > 0 }, 3*time.Minute, 100*time.Millisecond)
	require.Empty(t, ended, "it stays: %s", out)
	var c *client
	require.Eventually(t, func() bool { // the page is announced before the socket listens
		var ok bool
		c, ok = socketClient(filepath.Join(dir, "provost.sock"))
		return ok
	}, time.Minute, 20*time.Millisecond)
	ask := func(path string, query url.Values, to any) {
		require.NoError(t, c.do(ctx, http.MethodGet, path, query, nil, to))
	}
	var status api.Status
	ask("/api/v1/status", nil, &status)
	requests, accounts := map[host.RequestState]int64{}, map[host.LinkState]int64{}
	for _, app := range status.Apps {
		for s, n := range app.Requests {
			requests[s] += n
		}
		for s, n := range app.Accounts {
			accounts[s] += n
		}
	}
	for _, s := range []host.RequestState{host.StateNew, host.StateRequested, host.StateCompleted, host.StateFailed, host.StateAnalyzed, host.StateRetried, host.StateManuallyCompleted, host.StateCancelled} {
		require.Positive(t, requests[s], s)
	}
	for _, s := range host.LinkStates {
		require.Positive(t, accounts[s], s)
	}
	var plugins []api.Plugin
	ask("/api/v1/plugins", nil, &plugins)
	states, asks := map[string]bool{}, false
	for _, p := range plugins {
		states[p.State] = true
		asks = asks || !p.Wants.Empty()
	}
	require.True(t, asks, "one is to be granted more")
	require.True(t, states["quarantined"] && states["serving"], states)
	var credentials []api.Credential
	ask("/api/v1/credentials", nil, &credentials)
	wants := ""
	for _, one := range credentials {
		wants += one.Wants
	}
	require.NotEmpty(t, wants, "one is to be authorized")
	var plans []api.Plan
	ask("/api/v1/plans", url.Values{"state": {string(host.PlanQuarantined)}}, &plans)
	require.Len(t, plans, 1)
	require.NoError(t, c.close(ctx))
	interrupt()
	require.Zero(t, <-ended, "it ends well when it is interrupted")
}
