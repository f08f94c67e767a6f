package connector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

var (
	odd []byte           // the module of testdata/odd
	sb  *sandbox.Runtime // one for all tests: it is what a daemon has
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "connector")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "odd.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./testdata/odd")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	if odd, err = os.ReadFile(file); err != nil {
		return 0, err
	}
	ctx := context.Background()
	if sb, err = sandbox.New(ctx, sandbox.Options{CacheDir: filepath.Join(dir, "cache")}); err != nil {
		return 0, err
	}
	code = m.Run()
	err = sb.Close(ctx)
	if leak := goleak.Find(); code == 0 && leak != nil {
		err = errors.Join(err, leak)
	}
	return code, err
}

// changed is the module with other words of the same length in its
// description.
func changed(t *testing.T, oldNew ...string) []byte {
	wasm := odd
	for i := 0; i < len(oldNew); i += 2 {
		require.Len(t, oldNew[i+1], len(oldNew[i]))
		require.Contains(t, string(wasm), oldNew[i])
		wasm = bytes.ReplaceAll(wasm, []byte(oldNew[i]), []byte(oldNew[i+1]))
	}
	return wasm
}

// target answers every callout with one status.
type target struct {
	status int
	body   string

	mu      sync.Mutex
	callers []connector.Caller
	onCall  func()
}

func (e *target) Do(_ context.Context, c connector.Caller, r *sandbox.HTTPRequest) (*sandbox.HTTPResponse, host.Callout) {
	e.mu.Lock()
	e.callers = append(e.callers, c)
	e.mu.Unlock()
	if e.onCall != nil {
		e.onCall()
	}
	return &sandbox.HTTPResponse{Status: e.status, Body: []byte(e.body)}, host.Callout{Method: r.Method, URL: r.URL, Status: e.status}
}

func newCatalogue(t *testing.T, o connector.Options) *connector.Catalogue {
	o.Sandbox = sb
	c := connector.New(o)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c
}

func load(t *testing.T, o connector.Options, spec connector.Spec) *connector.Connector {
	c := newCatalogue(t, o)
	if spec.Name == "" {
		spec.Name = "odd"
	}
	if spec.Wasm == nil {
		spec.Wasm = odd
	}
	require.NoError(t, c.Load(context.Background(), spec))
	k, release, err := c.Acquire(context.Background(), spec.Name, "")
	require.NoError(t, err)
	t.Cleanup(release)
	return k
}

func do(what string, more ...string) pdk.Input {
	in := pdk.Input{UserProvisioningRequestId: "request-1", NamedCredDevName: "Target", Attributes: map[string]any{"do": what}}
	for i := 0; i < len(more); i += 2 {
		in.Attributes[more[i]] = more[i+1]
	}
	return in
}

func TestLoadRefusesWithAReason(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module for each case, one after the other")
	}
	for name, c := range map[string]struct {
		spec connector.Spec
		code host.Code
		says []string
	}{
		"no wasm":          {connector.Spec{Wasm: []byte("#!/bin/sh\n")}, host.InvalidInput, []string{"odd"}},
		"empty":            {connector.Spec{Wasm: []byte{}}, host.InvalidInput, []string{"odd"}},
		"cut off":          {connector.Spec{Wasm: odd[:len(odd)/2]}, host.InvalidInput, []string{"odd"}},
		"no describe":      {connector.Spec{Wasm: []byte("\x00asm\x01\x00\x00\x00")}, host.InvalidInput, []string{"odd"}},
		"contract 99":      {connector.Spec{Wasm: changed(t, `"contractVersion": 1`, `"contractVersion":99`)}, host.InvalidInput, []string{"version 99", "1 to 1"}},
		"missing export":   {connector.Spec{Wasm: changed(t, `"discover"`, `"activate"`)}, host.InvalidInput, []string{"not exported: activate", "listed: describe, activate", "exported: ", "discover"}},
		"another digest":   {connector.Spec{Wasm: odd, Digest: "sha256:00ff"}, host.InvalidInput, []string{"00ff"}},
		"no version":       {connector.Spec{Wasm: changed(t, `"version"`, `"Wersion"`)}, host.ConnectorFault, []string{"$.version: is missing"}},
		"bad name":         {connector.Spec{Wasm: changed(t, `"name":"odd"`, `"name":"O d"`)}, host.ConnectorFault, []string{"$.name"}},
		"HTTP in describe": {connector.Spec{Wasm: changed(t, `quiet`, `calls`)}, host.ConnectorFault, []string{"GET callout:Any/x", "static"}},
		"describe traps":   {connector.Spec{Wasm: changed(t, `quiet`, `traps`)}, host.ConnectorFault, []string{"describe"}},
		"describe fails":   {connector.Spec{Wasm: changed(t, `quiet`, `fails`)}, host.ConnectorFault, []string{"describe", "it would not say"}},
		"describe no JSON": {connector.Spec{Wasm: changed(t, `quiet`, `words`)}, host.ConnectorFault, []string{"describe", "no JSON"}},
		"bad schema":       {connector.Spec{Wasm: changed(t, `"type":"object"`, `"type":"objekt"`)}, host.ConnectorFault, []string{"settingsSchema"}},
		"schema reads":     {connector.Spec{Wasm: changed(t, `{"type":"string"}`, `{"$ref":"file:/"}`)}, host.ConnectorFault, []string{"settingsSchema", "must not refer"}},
		"wrong settings": {connector.Spec{Wasm: odd, Settings: map[string]any{"region": 7, "sise": 1}}, host.InvalidInput,
			[]string{"settings.region", "sise", "odd 1.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			cat := newCatalogue(t, connector.Options{})
			c.spec.Name, c.spec.Source = "odd", "odd.wasm"
			err := cat.Load(context.Background(), c.spec)
			require.Error(t, err)
			require.Equal(t, c.code, host.CodeOf(err), "%v", err)
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
			require.NotContains(t, err.Error(), "\n")
			require.Equal(t, []connector.Info{{Name: "odd", Source: "odd.wasm", State: connector.Broken, Reason: err.Error(), LastError: err.Error()}}, cat.List())
			_, _, err = cat.Acquire(context.Background(), "odd", "")
			require.Equal(t, host.Unavailable, host.CodeOf(err))
		})
	}
}

func TestARefusedLoadLeavesTheOldOneInPlace(t *testing.T) {
	c := newCatalogue(t, connector.Options{Now: func() time.Time { return time.Unix(1, 0) }})
	ctx := context.Background()
	require.NoError(t, c.Load(ctx, connector.Spec{Name: "a", Source: "builtin:odd", Wasm: odd}))
	require.Error(t, c.Load(ctx, connector.Spec{Name: "a", Source: "other", Wasm: []byte("x")}))

	list := c.List()
	require.Len(t, list, 1)
	require.Equal(t, "1.0.0", list[0].Version)
	require.Equal(t, "builtin:odd", list[0].Source)
	require.Equal(t, "Example Ltd", list[0].Vendor)
	require.Len(t, list[0].Digest, 64)
	require.Equal(t, len(odd), list[0].Size)
	require.Equal(t, time.Unix(1, 0), list[0].LoadedAt)
	require.NotEmpty(t, list[0].LastError)
	k, release, err := c.Acquire(context.Background(), "a", "")
	require.NoError(t, err)
	_, _, err = k.Call(ctx, pdk.OpUpdate, do(`{}`))
	require.NoError(t, err)
	release()

	require.NoError(t, c.Load(ctx, connector.Spec{Name: "a", Wasm: changed(t, `1.0.0`, `1.0.1`)}))
	require.Equal(t, "1.0.1", c.List()[0].Version)
	require.Empty(t, c.List()[0].LastError)
}

func TestASwapLetsCallsUnderWayEndOnTheOldOne(t *testing.T) {
	for name, next := range map[string][]byte{"another version": changed(t, `1.0.0`, `1.0.1`), "identical bytes": odd} {
		t.Run(name, func(t *testing.T) {
			inCall, goOn := make(chan struct{}), make(chan struct{})
			out := &target{status: 200, onCall: func() { close(inCall); <-goOn }}
			c := newCatalogue(t, connector.Options{Egress: out})
			ctx := context.Background()
			require.NoError(t, c.Load(ctx, connector.Spec{Name: "a", Wasm: odd}))
			old, release, err := c.Acquire(context.Background(), "a", "")
			require.NoError(t, err)
			ended := make(chan error)
			go func() {
				_, _, err := old.Call(ctx, pdk.OpUpdate, do(`{}`, "method", "GET"))
				ended <- err
			}()
			<-inCall
			require.NoError(t, c.Load(ctx, connector.Spec{Name: "a", Wasm: next}))
			close(goOn)
			require.NoError(t, <-ended)
			_, _, err = old.Call(ctx, pdk.OpUpdate, do(`{}`))
			require.NoError(t, err, "it is held until it is given back")
			release()
			release() // does nothing

			k, release, err := c.Acquire(context.Background(), "a", "")
			require.NoError(t, err)
			_, _, err = k.Call(ctx, pdk.OpUpdate, do(`{}`))
			require.NoError(t, err)
			release()
		})
	}
}

func TestCloseWaitsForCalls(t *testing.T) {
	c := connector.New(connector.Options{Sandbox: sb})
	require.NoError(t, c.Load(context.Background(), connector.Spec{Name: "a", Wasm: odd}))
	_, release, err := c.Acquire(context.Background(), "a", "")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = c.Close(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "a 1.0.0")
	release()
	require.NoError(t, c.Close(context.Background()))
	require.Equal(t, host.Cancelled, host.CodeOf(c.Load(context.Background(), connector.Spec{Name: "a", Wasm: odd})))
}

func TestRemovedIsUnavailable(t *testing.T) {
	c := newCatalogue(t, connector.Options{})
	require.NoError(t, c.Load(context.Background(), connector.Spec{Name: "a", Wasm: odd}))
	c.Remove("a")
	c.Remove("a")
	_, _, err := c.Acquire(context.Background(), "a", "")
	require.Equal(t, host.Unavailable, host.CodeOf(err), "it is not NotFound, which is the word for an account that is gone")
	require.Empty(t, c.List())
}

func TestCallFillsTheInputAndTheTrace(t *testing.T) {
	out := &target{status: 200}
	var seen []connector.Observation
	var log bytes.Buffer
	k := load(t, connector.Options{
		Egress: out, Observe: func(o connector.Observation) { seen = append(seen, o) },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, connector.Spec{Settings: map[string]any{"region": "eu"}, Hosts: []string{"files.example.com"}})

	got, trace, err := k.Call(context.Background(), pdk.OpCreate, do("settings", "method", "POST"))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"region": "eu"}, got.Attributes)
	require.Equal(t, "odd 1.0.0", trace.Connector)
	require.Equal(t, "create", trace.Operation)
	require.Positive(t, trace.Duration)
	require.Positive(t, trace.MemoryBytes)
	require.Len(t, trace.Callouts, 1)
	require.Equal(t, "callout:Target/x", trace.Callouts[0].URL)
	require.Equal(t, []connector.Caller{{Connector: "odd", Credential: "Target", RequestId: "request-1", Version: "1.0.0", Hosts: []string{"files.example.com"}}}, out.callers)

	_, _, err = k.Call(context.Background(), pdk.OpUpdate, do("trap"))
	require.Error(t, err)
	require.Contains(t, log.String(), "about to fall")
	require.Contains(t, log.String(), "request-1")
	require.Len(t, seen, 2)
	require.Equal(t, "ok", seen[0].Outcome)
	require.Equal(t, 1, seen[0].HTTPCalls)
	require.Equal(t, "odd", seen[1].Connector)
	require.Equal(t, "update", seen[1].Operation)
	require.Equal(t, "ConnectorFault", seen[1].Outcome)
}

func TestWhatAFailedCallBecomes(t *testing.T) {
	k := load(t, connector.Options{}, connector.Spec{Limits: sandbox.Limits{Time: 300 * time.Millisecond, Output: 1000}})
	for name, c := range map[string]struct {
		op   pdk.Operation
		do   string
		code host.Code
		says []string
	}{
		"typed error":         {pdk.OpCreate, `error:{"type":"NotFound","message":"gone","attribute":"userName","httpStatus":404}`, host.NotFound, []string{"gone"}},
		"unknown error type":  {pdk.OpCreate, `error:{"type":"Tired","message":"later"}`, host.Internal, []string{"Tired", "later"}},
		"plain text error":    {pdk.OpCreate, `error:something broke`, host.Internal, []string{"something broke"}},
		"trap":                {pdk.OpCreate, "trap", host.ConnectorFault, []string{"odd 1.0.0", "create", "about to fall"}},
		"endless loop":        {pdk.OpCreate, "spin", host.LimitExceeded, []string{"odd 1.0.0", "create"}},
		"all the memory":      {pdk.OpCreate, "greedy", "", []string{"odd 1.0.0", "create"}},
		"output too large":    {pdk.OpCreate, "large", host.LimitExceeded, []string{"odd 1.0.0", "create"}},
		"no JSON":             {pdk.OpCreate, "done", host.ConnectorFault, []string{"odd 1.0.0", "create", "no JSON"}},
		"no output":           {pdk.OpCreate, "", host.ConnectorFault, []string{"empty"}},
		"wrong type":          {pdk.OpCreate, `{"ExternalUserId":7}`, host.ConnectorFault, []string{"$.ExternalUserId: must be a string"}},
		"create without id":   {pdk.OpCreate, `{}`, host.ConnectorFault, []string{"$.ExternalUserId: is missing"}},
		"account without id":  {pdk.OpReconcile, `{"reconState":"complete","accounts":[{"ExternalUserId":"1"},{}]}`, host.ConnectorFault, []string{"$.accounts[1].ExternalUserId"}},
		"page without an end": {pdk.OpReconcile, `{"accounts":[]}`, host.ConnectorFault, []string{"$.nextReconOffset"}},
		"not listed":          {pdk.OpFreeze, `{}`, host.Unsupported, []string{"odd 1.0.0", "freeze", "create, update"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := k.Call(context.Background(), c.op, do(c.do))
			var e *host.Error
			require.ErrorAs(t, err, &e)
			if c.code != "" {
				require.Equal(t, c.code, e.Code, "%v", err)
			}
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
			require.False(t, e.Uncertain, "nothing was sent")
		})
	}
	_, _, err := k.Call(context.Background(), pdk.OpUpdate, do(`{}`))
	require.NoError(t, err, "a call leaves nothing behind for the next")
}

func TestATypedErrorKeepsWhatItSays(t *testing.T) {
	k := load(t, connector.Options{}, connector.Spec{})
	_, _, err := k.Call(context.Background(), pdk.OpCreate,
		do(`error:{"type":"RateLimited","message":"slow down","retryAfterSeconds":3,"httpStatus":429,"details":"quota","attribute":"userName","uncertain":true}`))
	var e *host.Error
	require.ErrorAs(t, err, &e)
	e.Err = nil
	require.Equal(t, &host.Error{Code: host.RateLimited, Message: "slow down", Field: "userName", Details: "quota", HTTPStatus: 429,
		RetryAfter: 3 * time.Second, Uncertain: true}, e)
}

func TestWhatMayHaveReachedTheTargetIsUncertain(t *testing.T) {
	const unsent = `{"type":"Unavailable","message":"no such host"}`
	const lost = `{"type":"Unavailable","message":"cut off","uncertain":true}`
	for name, c := range map[string]struct {
		method, do string
		status     int
		body       string
		want       bool
	}{
		"a trap after a POST":                          {"POST", "trap", 201, "", true},
		"a trap after a POST that was refused":         {"POST", "trap", 400, "", true},
		"a trap after a POST that never left":          {"POST", "trap", 0, unsent, false},
		"a trap after a POST whose answer was lost":    {"POST", "trap", 0, lost, true},
		"a trap after a GET":                           {"GET", "trap", 200, "", false},
		"a timeout after a POST":                       {"POST", "spin", 201, "", true},
		"a large output after a POST":                  {"POST", "large", 201, "", true},
		"a bad output after a POST":                    {"POST", "created", 201, "", true},
		"a create without id after a POST":             {"POST", "{}", 201, "", true},
		"an untyped error after a POST":                {"POST", "error:oh", 400, "", true},
		"a typed error after a POST that was refused":  {"POST", `error:{"type":"InvalidInput","message":"no"}`, 400, "", false},
		"a typed error after a POST that was answered": {"POST", `error:{"type":"InvalidInput","message":"no"}`, 201, "", true},
		"a typed error that says so":                   {"POST", `error:{"type":"Unavailable","message":"no","uncertain":true}`, 500, "", true},
		"a typed error after a GET that was answered":  {"GET", `error:{"type":"InvalidInput","message":"no"}`, 200, "", false},
		"a typed error after a POST that never left":   {"POST", `error:{"type":"Unavailable","message":"no"}`, 0, unsent, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := load(t, connector.Options{Egress: &target{status: c.status, body: c.body}},
				connector.Spec{Limits: sandbox.Limits{Time: 300 * time.Millisecond, Output: 1000}})
			_, _, err := k.Call(context.Background(), pdk.OpCreate, do(c.do, "method", c.method))
			var e *host.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.want, e.Uncertain, "%v", err)
		})
	}
}

func TestSecretsOfAnAccountAreMasked(t *testing.T) {
	var log bytes.Buffer
	k := load(t, connector.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, connector.Spec{})
	in := do("tell")
	in.Secrets = map[string]string{"password": "hunter22", "empty": ""}
	_, trace, err := k.Call(context.Background(), pdk.OpCreate, in)
	require.EqualError(t, err, "password: *** is too short")
	require.Equal(t, []string{"INFO the password is ***"}, trace.Logs)
	require.NotContains(t, log.String(), "hunter22")
	require.NotContains(t, fmt.Sprintf("%+v", errors.Unwrap(err)), "hunter22")
}

func TestDiscoverAndTestConnection(t *testing.T) {
	k := load(t, connector.Options{}, connector.Spec{})
	found, _, err := k.Discover(context.Background(), do(`{"objectClasses":[{"name":"account","attributes":[{"name":"login"}]}],"limits":{"maxPageSize":50}}`))
	require.NoError(t, err)
	require.Equal(t, "login", found.ObjectClasses[0].Attributes[0].Name)
	require.Equal(t, 50, found.Limits.MaxPageSize)
	_, _, err = k.Discover(context.Background(), do(`{"objectClasses":[{}]}`))
	require.Equal(t, host.ConnectorFault, host.CodeOf(err))
	_, err = k.TestConnection(context.Background(), do(`{}`))
	require.NoError(t, err)
	_, err = k.TestConnection(context.Background(), do(`error:{"type":"Unauthorized","message":"no"}`))
	require.Equal(t, host.Unauthorized, host.CodeOf(err))
}

func TestACancelledCallIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	k := load(t, connector.Options{Egress: &target{status: 200, onCall: cancel}}, connector.Spec{})
	_, _, err := k.Call(ctx, pdk.OpCreate, do("spin", "method", "POST"))
	var e *host.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, host.Cancelled, e.Code, "%v", err)
	require.True(t, e.Uncertain)
}

func TestInspect(t *testing.T) {
	found, err := connector.Inspect(context.Background(), sb, "odd", odd)
	require.NoError(t, err)
	require.Equal(t, "odd", found.Description.Name)
	require.Contains(t, found.Exports, "freeze")
	require.Equal(t, len(odd), found.Size)
}
