package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

// scaleFigure is what reconciling so many accounts with so many users took.
type scaleFigure struct {
	Accounts int    `json:"accounts"`
	Database string `json:"database"`
	// What an account took in each phase and altogether, in µs.
	Collect, Analyze, Commit, Total float64
	// Native is what an account takes a Go client that fetches the same pages and
	// puts them into the same table, with the same statements, of a database of
	// the same kind; it keeps no log, no offset and no limits.
	Native float64
	// CollectRatio is Collect over Native.
	CollectRatio float64
	// Peak is the most memory that the daemon's process had at once while it
	// reconciled, in MB, as Linux counts it (VmHWM): its own pages and those of
	// files that it maps.
	Peak float64 `json:"peakMB"`
}

// scale reconciles ever more accounts with as many users, in the real daemon
// and its own process, over HTTP.
func scale(ctx context.Context, sizes []int, databaseURL string) ([]scaleFigure, error) {
	var list []scaleFigure
	for _, n := range sizes {
		f, err := scaleOne(ctx, n, databaseURL)
		if err != nil {
			return list, fmt.Errorf("%d accounts: %w", n, err)
		}
		fmt.Printf("%9d accounts, %-8s  collect %6.1f µs each (native %.1f: %.2f times)  analyze %6.1f  commit %6.1f  in all %6.1f µs each, at most %.0f MB\n",
			f.Accounts, f.Database, f.Collect, f.Native, f.CollectRatio, f.Analyze, f.Commit, f.Total, f.Peak)
		list = append(list, f)
	}
	return list, nil
}

// page of a SCIM server that has n accounts and keeps none of them.
func scimPages(n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		start, _ := strconv.Atoi(q.Get("startIndex"))
		count, _ := strconv.Atoi(q.Get("count"))
		start, count = max(1, start), min(max(1, count), 1000)
		if !strings.HasSuffix(r.URL.Path, "/Users") {
			http.NotFound(w, r)
			return
		}
		last := min(n, start+count-1)
		b := fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":%d,"startIndex":%d,"itemsPerPage":%d,"Resources":[`, n, start, max(0, last-start+1))
		for i := start; i <= last; i++ {
			if i > start {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"id-%09d","userName":"user%d","name":{"givenName":"Given%d","familyName":"Family%d"},"displayName":"Given%d Family%d","title":"Engineer","active":true,"emails":[{"value":"user%d@example.com","type":"work","primary":true}],"meta":{"resourceType":"User","version":"W/\"1\""}}`, i, i, i%1000, i%5000, i%1000, i%5000, i)
		}
		w.Header().Set("Content-Type", "application/scim+json")
		_, _ = w.Write(append(b, "]}"...)) // who hangs up sees nothing
	})
}

func scaleOne(ctx context.Context, n int, databaseURL string) (f scaleFigure, err error) {
	f = scaleFigure{Accounts: n, Database: "SQLite"}
	dir, err := os.MkdirTemp("", "provost-scale-")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if databaseURL == "" {
		databaseURL = "sqlite://" + filepath.Join(dir, "provost.db")
	} else {
		f.Database = "PostgreSQL"
	}
	server := httptest.NewServer(scimPages(n))
	defer server.Close()
	d, err := startDaemon(ctx, dir, setup{database: databaseURL, endpoint: server.URL})
	if err != nil {
		return f, err
	}
	defer func() { err = d.stop(err) }()
	if _, err := d.provost(people(n), "user", "import", "-", "--format", "csv"); err != nil {
		return f, err
	}
	// What importing took is not counted.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.process.Process.Pid), []byte("5"), 0); err != nil {
		return f, fmt.Errorf("the daemon's peak of memory can't be reset; this needs Linux: %w", err)
	}
	out, err := d.provost(nil, "reconcile", "--app", "acme", "--wait", "--commit", "-o", "json")
	if err != nil {
		return f, err
	}
	var r struct {
		State       string
		CreatedDate time.Time
		Summary     map[string]int64
		Log         []struct {
			Status      string
			CreatedDate time.Time
		}
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return f, err
	}
	if r.State != string(host.StateCompleted) || r.Summary["linked"] != int64(n) {
		return f, fmt.Errorf("it ended as %s: %v", r.State, r.Summary)
	}
	at := map[string]time.Time{}
	for _, l := range r.Log {
		at[l.Status] = l.CreatedDate
	}
	each := func(from, to time.Time) float64 { return float64(to.Sub(from).Microseconds()) / float64(n) }
	f.Collect, f.Analyze, f.Commit = each(r.CreatedDate, at["collected"]), each(at["collected"], at["analyzed"]), each(at["analyzed"], at["completed"])
	f.Total = each(r.CreatedDate, at["completed"])
	if f.Peak, err = peak(d.process.Process.Pid); err != nil {
		return f, err
	}
	if f.Native, err = scaleNative(ctx, n, server.URL, databaseURL, dir); err != nil {
		return f, err
	}
	f.CollectRatio = f.Collect / f.Native
	return f, nil
}

// people is a CSV of n users.
func people(n int) io.Reader {
	rows, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		_, _ = b.WriteString("Username,FirstName,LastName,Email,Title\n")
		for i := 1; i <= n; i++ {
			_, _ = fmt.Fprintf(b, "user%d,Given%d,Family%d,user%d@example.com,Engineer\n", i, i%1000, i%5000, i)
		}
		_ = w.CloseWithError(b.Flush()) // the reader says what is wrong
	}()
	return rows
}

// daemon is bin/provost in a process of its own, with the app acme.
type daemon struct {
	process   *exec.Cmd
	file, api string
	log       bytes.Buffer
	ctx       context.Context
}

// setup is what a daemon is started with; what is empty is as it always is.
type setup struct {
	database string // its URL; else SQLite in the daemon's folder
	endpoint string // of the app's target
	plugins  string // the list of them; the app has that of the name scim
	app      string // further keys of the app
	rest     string // further lines of the configuration
}

// startDaemon starts one in a folder.
func startDaemon(ctx context.Context, dir string, s setup) (*daemon, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &daemon{api: "http://" + l.Addr().String(), file: filepath.Join(dir, "provost.yaml"), ctx: ctx}
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.file, fmt.Appendf(nil, `data_dir: %q
database: {url: %q}
listen: {api: %q, metrics: ""}
plugins: [%s]
credentials: [{name: Acme, endpoint: %q, anonymous: true}]
apps: [{name: acme, plugin: scim, credential: Acme%s}]
%s`, dir, cmp.Or(s.database, "sqlite://"+filepath.Join(dir, "provost.db")), strings.TrimPrefix(d.api, "http://"),
		cmp.Or(s.plugins, `{name: scim, source: "builtin:scim"}`), s.endpoint, s.app, s.rest), 0o600); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		return nil, err
	}
	if err := ready(ctx, d.api+"/api/v1/status"); err != nil {
		return nil, d.stop(err)
	}
	return d, nil
}

// start starts it, or starts it again.
func (d *daemon) start() error {
	d.process = exec.CommandContext(d.ctx, "bin/provost", "serve", "--config", d.file)
	d.process.Stderr = &d.log
	return d.process.Start()
}

// stop ends it. With an error, its log is told.
func (d *daemon) stop(cause error) error {
	err := errors.Join(cause, d.process.Process.Signal(os.Interrupt))
	_ = d.process.Wait() // it was told to end
	if err != nil {
		return fmt.Errorf("%w\n%s", err, d.log.String())
	}
	return nil
}

// provost runs a command of the daemon's and returns what it prints.
func (d *daemon) provost(in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(d.ctx, "bin/provost", append(args, "--config", d.file)...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("provost %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out, nil
}

// ready waits until the daemon answers.
func ready(ctx context.Context, url string) error {
	for range 600 {
		if r, err := http.Get(url); err == nil {
			return r.Body.Close()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the daemon does not answer")
}

// peak reads the most memory that a process has had of its own, in MB.
func peak(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, "VmHWM:"); is {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmHWM")
}

// scaleNative is the same collecting by a Go client without a sandbox.
func scaleNative(ctx context.Context, n int, url, databaseURL, dir string) (float64, error) {
	if strings.HasPrefix(databaseURL, "sqlite:") {
		databaseURL = "sqlite://" + filepath.Join(dir, "native.db")
	}
	s, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	begin := time.Now()
	for offset := "1"; offset != ""; {
		accounts, next, err := fetchNative(ctx, url, offset, 500, n)
		if err != nil {
			return 0, err
		}
		if err := s.Update(ctx, func(t *store.Tx) error { return t.PutStaging(ctx, rowsOf(accounts)) }); err != nil {
			return 0, err
		}
		offset = next
	}
	return float64(time.Since(begin).Microseconds()) / float64(n), nil
}

func rowsOf(accounts []pdk.Account) []*host.UserProvAccountStaging {
	rows := make([]*host.UserProvAccountStaging, len(accounts))
	for i, a := range accounts {
		rows[i] = &host.UserProvAccountStaging{UserProvisioningRequestId: "r", ConnectedAppId: "a", ExternalUserId: a.ExternalUserId, ExternalUsername: a.ExternalUsername, Attributes: a.Attributes}
	}
	return rows
}
