package main

import (
	"bufio"
	"bytes"
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
	// Native is what an account takes a Go client that fetches the same pages
	// and stores the same rows in the same kind of database.
	Native float64
	// CollectRatio is Collect over Native.
	CollectRatio float64
	// Peak is the most memory that the daemon's process ever had while it
	// reconciled, in MB, the memory of its files in the page cache not counted.
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return f, err
	}
	api := l.Addr().String()
	if err := l.Close(); err != nil {
		return f, err
	}
	file := filepath.Join(dir, "provost.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `data_dir: %q
database: {url: %q}
listen: {api: %q, metrics: ""}
plugins: [{name: scim, source: "builtin:scim"}]
credentials: [{name: Acme, endpoint: %q, anonymous: true}]
apps: [{name: acme, plugin: scim, credential: Acme}]
`, dir, databaseURL, api, server.URL), 0o600); err != nil {
		return f, err
	}
	daemon := exec.CommandContext(ctx, "bin/provost", "serve", "--config", file)
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		return f, err
	}
	defer func() {
		err = errors.Join(err, daemon.Process.Signal(os.Interrupt))
		_ = daemon.Wait() // it was told to end
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, log.String())
		}
	}()
	if err := ready(ctx, "http://"+api+"/api/v1/status"); err != nil {
		return f, err
	}
	provost := func(in io.Reader, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "bin/provost", append(args, "--config", file)...)
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = in, &errs
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("provost %s: %w: %s", strings.Join(args, " "), err, errs.String())
		}
		return out, nil
	}
	rows, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		_, _ = b.WriteString("Username,FirstName,LastName,Email,Title\n")
		for i := 1; i <= n; i++ {
			_, _ = fmt.Fprintf(b, "user%d,Given%d,Family%d,user%d@example.com,Engineer\n", i, i%1000, i%5000, i)
		}
		_ = w.CloseWithError(b.Flush()) // the reader says what is wrong
	}()
	if _, err := provost(rows, "user", "import", "-", "--format", "csv"); err != nil {
		return f, err
	}
	// What importing took is not counted.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", daemon.Process.Pid), []byte("5"), 0); err != nil {
		return f, fmt.Errorf("the daemon's peak of memory can't be reset; this needs Linux: %w", err)
	}
	out, err := provost(nil, "reconcile", "--app", "acme", "--wait", "--commit", "-o", "json")
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
	if f.Peak, err = peak(daemon.Process.Pid); err != nil {
		return f, err
	}
	if f.Native, err = scaleNative(ctx, n, server.URL, databaseURL, dir); err != nil {
		return f, err
	}
	f.CollectRatio = f.Collect / f.Native
	return f, nil
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
