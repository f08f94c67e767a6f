// Command provostbench measures Provost against a baseline in the same run and
// writes the figures as ratios.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
)

// figure is one line of latest.json.
type figure struct {
	Name         string  `json:"name"`
	Ours         float64 `json:"ours"`
	Baseline     float64 `json:"baseline"`
	BaselineName string  `json:"baseline_name"`
	Unit         string  `json:"unit"`
	Ratio        float64 `json:"ratio"`
}

type report struct {
	Date    string   `json:"date"`
	Commit  string   `json:"commit"`
	Machine string   `json:"machine"`
	Command string   `json:"command"`
	Figures []figure `json:"figures"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == compileArgument { // the sandbox's compiler is this program
		os.Exit(sandbox.CompileMain(os.Stdin, os.Stdout))
	}
	out := flag.String("o", "", "write the figures to this file")
	only := flag.String("only", "", "take only the figures of these kinds, with commas between: "+strings.Join(slices.Sorted(maps.Keys(kinds(""))), ", "))
	sizes := flag.String("scale", "", "reconcile so many accounts with as many users instead, in the real daemon: 10000,100000,1000000")
	database := flag.String("database", "", "for -scale with one size, and for -only pages: the URL of an empty PostgreSQL database (default: SQLite in a temporary folder)")
	flag.Parse()
	if *sizes != "" {
		if err := benchScale(context.Background(), *out, *sizes, *database); err != nil {
			fmt.Fprintln(os.Stderr, "provostbench:", err)
			os.Exit(1)
		}
		return
	}
	if err := bench(context.Background(), *out, *only, *database); err != nil {
		fmt.Fprintln(os.Stderr, "provostbench:", err)
		os.Exit(1)
	}
}

func benchScale(ctx context.Context, out, sizes, database string) error {
	var list []int
	for part := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return fmt.Errorf("-scale: %w", err)
		}
		list = append(list, n)
	}
	command := "make build && go run ./cmd/provostbench -scale " + sizes
	if database != "" {
		if len(list) > 1 {
			return errors.New("-database: each size needs an empty database of its own; measure one at a time")
		}
		command += " -database postgres://…"
	}
	figures, err := scale(ctx, list, database)
	if err != nil || out == "" {
		return err
	}
	text, err := json.MarshalIndent(map[string]any{"command": command, "date": time.Now().UTC().Format(time.RFC3339),
		"machine": fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()), "figures": figures}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

const compileArgument = "compile"

// kinds are what is measured.
func kinds(database string) map[string]func(context.Context) ([]figure, error) {
	return map[string]func(context.Context) ([]figure, error){
		"calls": calls, "neighbours": neighbours, "metering": metering, "reset": reset, "load": load, "memory": memory, "collect": collect, "requests": requests, "callouts": callouts, "start": start, "swap": swap,
		"pages": func(ctx context.Context) ([]figure, error) { return pages(ctx, database) },
	}
}

func bench(ctx context.Context, out, only, database string) error {
	command, wanted := "make bench", slices.DeleteFunc(slices.Sorted(maps.Keys(kinds(""))), func(kind string) bool { return kind == "pages" }) // it takes its time
	if only != "" {
		command, wanted = "make build && go run ./cmd/provostbench -only "+only, strings.Split(only, ",")
	}
	for _, kind := range wanted {
		if kinds(database)[kind] == nil {
			return fmt.Errorf("there are no figures of the kind %q", kind)
		}
	}
	r := report{Date: time.Now().UTC().Format(time.RFC3339), Command: command,
		Machine: fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())}
	if rev, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(rev))
	}
	for _, kind := range []string{"calls", "neighbours", "metering", "reset", "load", "memory", "callouts", "collect", "requests", "start", "swap", "pages"} {
		if !slices.Contains(wanted, kind) {
			continue
		}
		f, err := kinds(database)[kind](ctx)
		if err != nil {
			return err
		}
		for _, g := range f {
			g.Ratio = g.Ours / g.Baseline
			fmt.Printf("%-12s %12.1f %-10s against %12.1f of %-44s ratio %.2f\n", g.Name, g.Ours, g.Unit, g.Baseline, g.BaselineName, g.Ratio)
			r.Figures = append(r.Figures, g)
		}
	}
	if out == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(b, '\n'), 0o644)
}

// median is that of durations.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func scimModule(ctx context.Context, sb *sandbox.Runtime) (*sandbox.Module, error) {
	wasm, ok := plugins.Builtin("scim")
	if !ok {
		return nil, fmt.Errorf("the connector scim is not built; run make build")
	}
	return sb.Load(ctx, "scim", wasm, sandbox.Limits{})
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// load measures a module's load with and without the cache on disk.
func load(ctx context.Context) ([]figure, error) {
	dir, err := os.MkdirTemp("", "provostbench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	once := func() (time.Duration, error) {
		debug.FreeOSMemory()
		begin := time.Now()
		sb, err := sandbox.New(ctx, sandbox.Options{CacheDir: dir, Compiler: []string{program, compileArgument}})
		if err != nil {
			return 0, err
		}
		if _, err := scimModule(ctx, sb); err != nil {
			return 0, err
		}
		took := time.Since(begin)
		return took, sb.Close(ctx)
	}
	cold, err := once()
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for range 5 {
		d, err := once()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return []figure{{Name: "load_warm", Ours: ms(median(all)), Baseline: ms(cold), BaselineName: "the same module cold", Unit: "ms"}}, nil
}

const bearer = "bench-token-0123456789"

func target(n int) (*scimtarget.Target, *httptest.Server, error) {
	t, err := scimtarget.New(scimtarget.Options{Token: bearer, MaxResults: 1000})
	if err != nil {
		return nil, nil, err
	}
	for i := range n {
		_, err := t.Add(map[string]any{"userName": fmt.Sprintf("user.%d@example.com", i), "active": true, "displayName": "User", "name": map[string]any{"givenName": "U", "familyName": fmt.Sprint(i)}})
		if err != nil {
			return nil, nil, err
		}
	}
	return t, httptest.NewServer(t), nil
}

func openStore(ctx context.Context) (*store.Store, func(), error) {
	dir, err := os.MkdirTemp("", "provostbench")
	if err != nil {
		return nil, nil, err
	}
	s, err := store.Open(ctx, "sqlite://"+filepath.Join(dir, "bench.db"), store.Options{})
	return s, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}, err
}

// collect takes 10,000 accounts through the sandbox and the store, against a
// native client that fetches and stores the same rows.
func collect(ctx context.Context) ([]figure, error) {
	const n, page = 10_000, 500
	_, server, err := target(n)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	sb, err := sandbox.New(ctx, sandbox.Options{})
	if err != nil {
		return nil, err
	}
	m, err := scimModule(ctx, sb)
	if err != nil {
		return nil, err
	}
	out := callout.New(callout.Options{Logger: slog.New(slog.DiscardHandler)})
	defer out.Close()
	if err := out.Apply([]callout.Credential{{Name: "X", Endpoint: server.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: bearer}, Path: "bearer.token"}}}}); err != nil {
		return nil, err
	}
	env := sandbox.Env{HTTP: func(ctx context.Context, r *sandbox.HTTPRequest) *sandbox.HTTPResponse {
		a := out.Do(ctx, callout.Caller{Connector: "scim", Credential: "X"}, callout.Request(*r))
		return &sandbox.HTTPResponse{Status: a.Status, Header: a.Header, Body: a.Body}
	}}
	run := func(fetch func(offset string) ([]pdk.Account, string, error)) (time.Duration, error) {
		s, done, err := openStore(ctx)
		if err != nil {
			return 0, err
		}
		defer done()
		begin := time.Now()
		total := 0
		for offset := "1"; offset != ""; {
			accounts, next, err := fetch(offset)
			if err != nil {
				return 0, err
			}
			if err := s.Update(ctx, func(t *store.Tx) error { return t.PutStaging(ctx, rowsOf(accounts)) }); err != nil {
				return 0, err
			}
			total, offset = total+len(accounts), next
		}
		if total != n {
			return 0, fmt.Errorf("collected %d of %d", total, n)
		}
		return time.Since(begin), nil
	}
	ours, err := run(func(offset string) ([]pdk.Account, string, error) {
		in, err := json.Marshal(pdk.Input{Operation: pdk.OpReconcile, NamedCredDevName: "X", ReconOffset: offset, Settings: map[string]any{"pageSize": page}})
		if err != nil {
			return nil, "", err
		}
		raw, _, err := m.Call(ctx, "reconcile", in, env)
		if err != nil {
			return nil, "", err
		}
		o, err := pdk.DecodeOutput(raw)
		return o.Accounts, o.NextReconOffset, err
	})
	if err != nil {
		return nil, err
	}
	base, err := run(func(offset string) ([]pdk.Account, string, error) {
		return fetchNative(ctx, server.URL, offset, page, n)
	})
	if err != nil {
		return nil, err
	}
	return []figure{{Name: "collect", Ours: ms(ours), Baseline: ms(base), BaselineName: "a native client, the same rows", Unit: "ms"}}, sb.Close(ctx)
}

func fetchNative(ctx context.Context, base, offset string, page, n int) ([]pdk.Account, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/Users?startIndex=%s&count=%d", base, offset, page), nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	var got struct{ Resources []map[string]any }
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		return nil, "", err
	}
	list := make([]pdk.Account, len(got.Resources))
	for i, a := range got.Resources {
		id, _ := a["id"].(string)
		name, _ := a["userName"].(string)
		list[i] = pdk.Account{ExternalUserId: id, ExternalUsername: name, Attributes: a}
	}
	var start int
	if _, err := fmt.Sscan(offset, &start); err != nil {
		return nil, "", err
	}
	if start+len(list) > n {
		return list, "", nil
	}
	return list, fmt.Sprint(start + len(list)), nil
}

// empty is River's empty job.
type empty struct{}

func (empty) Kind() string { return "empty" }

// requests measures requests end to end in the real daemon (the demo's
// provisioning) against River's empty jobs on the same kind of database.
func requests(ctx context.Context) ([]figure, error) {
	s, done, err := openStore(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	const jobs = 5000
	base, err := emptyJobs(ctx, s.DB(), jobs)
	if err != nil {
		return nil, err
	}
	rate, err := worked(ctx, jobs)
	if err != nil {
		return nil, err
	}
	return []figure{{Name: "requests", Ours: rate, Baseline: base, BaselineName: "River's empty jobs on SQLite", Unit: "per second"}}, nil
}

// worked is how many requests a second the real daemon takes to their end: n
// users come at once, and each gets an account in a SCIM server over HTTP.
func worked(ctx context.Context, n int) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "provost-requests-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server := httptest.NewServer(scimEmpty())
	defer server.Close()
	d, err := startDaemon(ctx, dir, setup{endpoint: server.URL, app: ", operations: [Create], scope: 'true'"})
	if err != nil {
		return 0, err
	}
	defer func() { err = d.stop(err) }()
	begin := time.Now()
	if _, err := d.provost(people(n), "user", "import", "-", "--format", "csv"); err != nil {
		return 0, err
	}
	for {
		var status struct {
			Apps []struct{ Requests map[string]int }
		}
		if err := get(ctx, d.api+"/api/v1/status", &status); err != nil {
			return 0, err
		}
		switch r := status.Apps[0].Requests; {
		case r["Failed"] > 0:
			return 0, fmt.Errorf("%d of %d requests failed", r["Failed"], n)
		case r["Completed"] == n:
			return float64(n) / time.Since(begin).Seconds(), nil
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}

// scimEmpty is a SCIM server that has nobody and takes everybody.
func scimEmpty() http.Handler {
	var made atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/scim+json")
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"startIndex":1,"itemsPerPage":0,"Resources":[]}`)
			return
		}
		var user map[string]any
		if err := json.NewDecoder(r.Body).Decode(&user); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		user["id"] = fmt.Sprint("id-", made.Add(1))
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(user) // who hangs up sees nothing
	})
}

func emptyJobs(ctx context.Context, db *sql.DB, n int) (float64, error) {
	var worked atomic.Int64
	ended := make(chan struct{})
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[empty]) error {
		if worked.Add(1) == int64(n) {
			close(ended)
		}
		return nil
	}))
	client, err := river.NewClient(riversqlite.New(db), &river.Config{Logger: slog.New(slog.DiscardHandler), Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}}, FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond})
	if err != nil {
		return 0, err
	}
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i] = river.InsertManyParams{Args: empty{}}
	}
	if _, err := client.InsertMany(ctx, params); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	<-ended
	rate := float64(n) / time.Since(begin).Seconds()
	return rate, client.Stop(ctx)
}
