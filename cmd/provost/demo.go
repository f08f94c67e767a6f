package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/testdata"
)

func newDemoCommand() *cobra.Command {
	var dir, metrics, listen string
	var figures, stay bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Provision invented people into a SCIM server in this process, and show what happens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if dir == "" {
				if dir, err = os.MkdirTemp("", "provost-demo-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			}
			s := &story{out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(), figures: figures, metrics: metrics}
			if stay {
				s.stage = &stage{story: s, dir: dir}
				defer func() { err = errors.Join(err, s.stage.close()) }()
				if s.more, err = s.stage.declare(listen); err != nil {
					return err
				}
			}
			return s.run(cmd.Context(), dir)
		},
	}
	cmd.Flags().BoolVar(&figures, "figures", false, "print how fast it was, as JSON, in the place of the table")
	cmd.Flags().StringVar(&metrics, "metrics", "", "host:port of the demo's metrics; it then goes on until it is interrupted")
	cmd.Flags().BoolVar(&stay, "stay", false, "go on with the console to look at, and more apps in every state, until it is interrupted")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "with --stay: host:port of the console")
	cmd.Flags().StringVar(&dir, "dir", "", "keep the database and the configuration here (default: a temporary folder)")
	return cmd
}

// The people of the demo that nobody told Provost of: accounts that stand in
// the target from the beginning. Two belong to people of ours.
var strangers = []map[string]any{
	{"userName": "svc-backup", "displayName": "Backup service", "active": true},
	{"userName": "contractor.1987", "displayName": "Eve Former", "active": true, "emails": []any{map[string]any{"value": "eve@elsewhere.example", "type": "work"}}},
	{"userName": "test", "displayName": "Test Test", "active": false},
}

// story is what the demo counts.
type story struct {
	out, progress io.Writer
	figures       bool
	metrics       string     // where its metrics are served, "" for nowhere
	rows          [][]string // the list of people as it was imported last
	// stage is what a demo has that stays, and more what it adds to the
	// configuration; nil and "" for one that ends.
	stage      *stage
	more       string
	c          *client
	target     *scimtarget.Target
	url, token string
	begin      time.Time
	// answers is what the target's address answers with.
	answers atomic.Pointer[http.Handler]
	// stopped is the run that was stopped before its commit.
	stopped request
	// perSecond is how many requests were completed in a second.
	perSecond float64
}

func (s *story) answerWith(h http.Handler) { s.answers.Store(&h) }

// run starts the parts of the demo, tells it, and stops them.
func (s *story) run(ctx context.Context, dir string) (err error) {
	token := rand.Text()
	target, err := scimtarget.New(scimtarget.Options{Token: token})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.answers.Load()).ServeHTTP(w, r) }), ReadHeaderTimeout: 10 * time.Second}
	s.answerWith(target)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		err = errors.Join(err, server.Close())
		<-served
	}()
	s.target, s.url, s.token = target, "http://"+l.Addr().String(), token

	tokenFile := filepath.Join(dir, "acme.token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return err
	}
	file := filepath.Join(dir, "provost.yaml")
	text := fmt.Sprintf(`# The demo's configuration.
data_dir: %q
plugins:
  - {name: scim, source: "builtin:scim"}
credentials:
  - name: Acme_SCIM
    endpoint: %s
    bearer: {token: {file: %q}}
apps:
  - name: acme
    label: Acme
    plugin: scim
    credential: Acme_SCIM
    operations: [Create, Update, EnableAndDisable]
`, dir, s.url, tokenFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	if s.more != "" {
		if err := writeWhole(filepath.Join(dir, "conf.d", "stage.yaml"), []byte(s.more)); err != nil {
			return err
		}
	}
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.progress, "starting: a SCIM server on %s, SQLite in %s, the connector scim in its sandbox\n", l.Addr(), dir)
	log := slog.New(slog.DiscardHandler)
	if s.stage != nil { // whose console shows what connectors log
		log = newLogger(cfg.Log, io.Discard)
	}
	d, err := openDaemon(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		err = errors.Join(err, d.stop(stop), d.close(stop))
	}()
	d.path = file
	if err := d.start(ctx); err != nil {
		return err
	}
	s.c = inProcessClient(d)
	if s.metrics != "" {
		stop, err := s.serveMetrics(ctx, d)
		if err != nil {
			return err
		}
		defer stop()
	}
	s.begin = time.Now()
	if err := s.tell(ctx); err != nil {
		return err
	}
	if s.stage != nil {
		return s.stay(ctx, d, cfg)
	}
	if s.metrics == "" {
		return nil
	}
	fmt.Fprintf(s.progress, "its metrics are at http://%s/metrics until you interrupt it\n", s.metrics)
	<-ctx.Done()
	return nil
}

// stay sets the stage and serves the console until the demo is interrupted.
func (s *story) stay(ctx context.Context, d *daemon, cfg *config.Config) error {
	fmt.Fprintln(s.progress, "setting the stage: more apps, in every state")
	if err := s.stage.set(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Look at it: http://%s/console   (until you interrupt it; Ctrl-C)\n", cfg.Listen.API)
	return d.listen(ctx, cfg)
}

// serveMetrics lets Prometheus watch the demo, until stop is called.
func (s *story) serveMetrics(ctx context.Context, d *daemon) (stop func(), err error) {
	l, err := net.Listen("tcp", s.metrics)
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "--metrics: %w", err)
	}
	guard := &scrapeGuard{d: d}
	if l, err = guard.listener(ctx, l); err != nil {
		return nil, err
	}
	s.metrics = l.Addr().String()
	server := &http.Server{Handler: guard.handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends by stop
	}()
	return func() {
		_ = server.Close() // there is nobody left to tell
		<-served
	}, nil
}

// tell runs the demo from a list of people to a table of what was done.
func (s *story) tell(ctx context.Context) error {
	for _, a := range strangers {
		if _, err := s.target.Add(a); err != nil {
			return err
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(testdata.People)).ReadAll()
	if err != nil {
		return err
	}
	// Two people have an account that was made by hand before.
	for _, row := range rows[1:3] {
		if _, err := s.target.Add(map[string]any{"userName": row[0], "displayName": "made by hand", "active": true}); err != nil {
			return err
		}
	}
	people := len(rows) - 1

	imported := time.Now()
	if err := s.importRows(ctx, rows); err != nil {
		return err
	}
	if err := s.settle(ctx, "provisioning", people); err != nil {
		return err
	}
	s.perSecond = float64(people) / time.Since(imported).Seconds()

	// Some people change their names, some leave.
	const changed, left = 18, 7
	column := func(name string) int { return slices.Index(rows[0], name) }
	for i := 20; i < 20+changed; i++ {
		rows[i][column("LastName")] += "-Byron"
	}
	for i := 60; i < 60+left; i++ {
		rows[i][column("IsActive")] = "false"
	}
	if err := s.importRows(ctx, rows); err != nil {
		return err
	}
	if err := s.settle(ctx, "changing", people+changed+left); err != nil {
		return err
	}

	// Somebody changes three accounts in the target itself.
	const drifted = 3
	for _, a := range s.target.Accounts()[100 : 100+drifted] {
		s.target.Change(a.ID, func(attributes map[string]any) { attributes["title"] = "Emperor" })
	}
	// And somebody there has made one of ours a second account.
	mail := rows[10][column("Email")]
	if _, err := s.target.Add(map[string]any{"userName": "old." + mail, "displayName": "an old account", "active": true,
		"emails": []any{map[string]any{"value": mail, "type": "work"}}}); err != nil {
		return err
	}
	run, err := s.reconcile(ctx)
	if err != nil {
		return err
	}
	if err := s.check(ctx, rows, run, changed, left, drifted); err != nil {
		return err
	}
	if err := s.correct(ctx, people+changed+left+1, int(run.Summary["drifted"])); err != nil {
		return err
	}
	if err := s.misconfigure(ctx); err != nil {
		return err
	}
	if s.figures {
		return json.NewEncoder(s.out).Encode(map[string]float64{"RequestsPerSecond": s.perSecond})
	}
	return s.table(ctx, run)
}

func (s *story) importRows(ctx context.Context, rows [][]string) error {
	s.rows = rows
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	_, err := s.c.importUsers(ctx, &b, url.Values{"name": {"people.csv"}, "format": {"csv"}, "assign": {"acme"}}, func(int64, int64) {})
	return err
}

// settle waits until all requests have ended, and shows how far they are.
func (s *story) settle(ctx context.Context, label string, total int) error {
	bar := term.NewProgress(s.progress, label, int64(total))
	defer bar.Done("")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := s.status(ctx)
		if err != nil {
			return err
		}
		ended := int64(0)
		for state, n := range status.Apps[0].Requests {
			if state.Ended() {
				ended += n
			}
		}
		bar.Set(ended, int64(total))
		if ended >= int64(total) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *story) status(ctx context.Context) (st api.Status, err error) {
	err = s.c.do(ctx, http.MethodGet, "/api/v1/status", nil, nil, &st)
	return st, err
}

func (s *story) reconcile(ctx context.Context) (request, error) {
	var r request
	if err := s.c.do(ctx, http.MethodPost, "/api/v1/apps/acme/reconcile", nil, api.ReconcileOptions{Commit: true}, &r); err != nil {
		return r, err
	}
	bar := term.NewProgress(s.progress, "reconciling", 0)
	defer bar.Done("")
	r, err := waitFor(ctx, s.c, r.Id, func(r request) { bar.Set(r.ReconFound, r.TotalEstimate) })
	if err != nil {
		return r, err
	}
	return r, failedError(r)
}

// correct has what drifted put right, each by a request.
func (s *story) correct(ctx context.Context, ended, drifted int) error {
	if err := s.c.do(ctx, http.MethodPost, "/api/v1/apps/acme/process", nil, api.ProcessOptions{Drift: "update"}, nil); err != nil {
		return err
	}
	if err := s.settle(ctx, "correcting", ended+drifted); err != nil {
		return err
	}
	there, err := s.ask(ctx)
	for name, a := range there {
		if a.Title == "Emperor" {
			return host.Errorf(host.Internal, "the account %s is still an Emperor", name)
		}
	}
	return err
}

// misconfigure reconciles with an empty tenant, as when somebody has changed
// the address: everybody would count as gone. The run stops before its commit.
func (s *story) misconfigure(ctx context.Context) error {
	empty, err := scimtarget.New(scimtarget.Options{Token: s.token})
	if err != nil {
		return err
	}
	s.answerWith(empty)
	defer s.answerWith(s.target)
	if s.stopped, err = s.reconcile(ctx); err != nil {
		return err
	}
	if s.stopped.Quarantine == "" {
		return host.Errorf(host.Internal, "%s found nobody and was not stopped", s.stopped.Name)
	}
	return s.c.do(ctx, http.MethodPost, "/api/v1/requests/"+s.stopped.Id+"/reject", nil, map[string]string{"reason": "the address is of an empty tenant"}, nil)
}

// check asks the target itself, over HTTP, whether it is as it should be.
func (s *story) check(ctx context.Context, rows [][]string, run request, changed, left, drifted int) error {
	there, err := s.ask(ctx)
	if err != nil {
		return err
	}
	var wrong []string
	expect := func(what string, got, want any) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %v, should be %v", what, got, want))
		}
	}
	people := len(rows) - 1
	expect("accounts in the target", len(there), people+len(strangers)+1)
	renamed, inactive := 0, 0
	for _, row := range rows[1:] {
		a, ok := there[strings.ToLower(row[0])]
		if !ok {
			wrong = append(wrong, "no account for "+row[0])
			continue
		}
		if strings.HasSuffix(a.Name.FamilyName, "-Byron") {
			renamed++
		}
		if !a.Active {
			inactive++
		}
	}
	expect("accounts made over HTTP", s.target.Created(), people-2)
	expect("renamed accounts", renamed, changed)
	expect("inactive accounts", inactive, left)
	expect("orphaned accounts found", run.Summary["orphaned"], int64(len(strangers)))
	expect("duplicate accounts found", run.Summary["duplicate"], int64(1))
	expect("linked accounts found", run.Summary["linked"], int64(people))
	// The accounts that were made by hand were given what they should have.
	expect("drifted accounts found", run.Summary["drifted"], int64(drifted))
	var failed []request
	if err := s.c.do(ctx, http.MethodGet, "/api/v1/requests", url.Values{"state": {string(host.StateFailed)}}, nil, &failed); err != nil {
		return err
	}
	for _, r := range failed {
		wrong = append(wrong, r.Name+" failed: "+r.ErrorMessage)
	}
	if len(wrong) > 0 {
		return host.Errorf(host.Internal, "the end is not what it should be: %s", strings.Join(wrong[:min(5, len(wrong))], "; "))
	}
	return nil
}

type thereAccount struct {
	UserName string `json:"userName"`
	Title    string `json:"title"`
	Active   bool   `json:"active"`
	Name     struct {
		FamilyName string `json:"familyName"`
	} `json:"name"`
}

// ask lists the target's accounts as any SCIM client would.
func (s *story) ask(ctx context.Context) (map[string]thereAccount, error) {
	found := map[string]thereAccount{}
	for start := 1; ; {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/Users?startIndex=%d&count=100", s.url, start), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+s.token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		var page struct {
			Resources []thereAccount
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return nil, err
		}
		for _, a := range page.Resources {
			found[strings.ToLower(a.UserName)] = a
		}
		if len(page.Resources) == 0 {
			return found, nil
		}
		start += len(page.Resources)
	}
}

// table prints what was done, what was found, what a call cost, and what to
// try next.
func (s *story) table(ctx context.Context, run request) error {
	done := map[host.Operation]int{}
	linked := 0
	var sandboxTime []time.Duration
	var memory int64
	var fuel []int64
	requests, err := pages(0, func(n int, last request) ([]request, error) {
		q := url.Values{"state": {string(host.StateCompleted)}, "limit": {fmt.Sprint(n)}}
		if last.UserProvisioningRequest != nil {
			q.Set("after", strings.TrimPrefix(last.Name, "UPR-"))
		}
		var page []request
		return page, s.c.do(ctx, http.MethodGet, "/api/v1/requests", q, nil, &page)
	})
	if err != nil {
		return err
	}
	for _, r := range requests {
		done[r.Operation]++
		full, err := getRequest(ctx, s.c, r.Id)
		if err != nil {
			return err
		}
		for _, l := range full.Log {
			if strings.Contains(l.Details, "was there already") {
				linked++
			}
			if l.Trace != nil && r.Operation != host.Reconcile {
				sandboxTime = append(sandboxTime, l.Trace.Duration-l.Trace.HTTPDuration)
				memory = max(memory, l.Trace.MemoryBytes)
				fuel = append(fuel, l.Trace.Fuel)
			}
		}
	}
	slices.Sort(sandboxTime)
	slices.Sort(fuel)
	fmt.Fprintf(s.out, "\nAcme (SCIM 2.0 on %s)%*s in %.1f s\n", strings.TrimPrefix(s.url, "http://"), 36, "", time.Since(s.begin).Seconds())
	line := func(what string, n int64, means, next string) {
		fmt.Fprintf(s.out, "  %-12s %5d   %-46s %s\n", what, n, means, next)
	}
	line("created", int64(done[host.Create]-linked), "people who had no account", "")
	line("linked", int64(linked), "accounts that were there already", "")
	line("updated", int64(done[host.Update])-run.Summary["drifted"], "names that had changed", "")
	line("deactivated", int64(done[host.Deactivate]), "people who left", "")
	line("found", run.Summary["orphaned"], "accounts that belong to nobody", "-> provost account list --app acme --state orphaned")
	line("duplicate", run.Summary["duplicate"], "second accounts of somebody: a person decides", "-> provost account list --app acme --state duplicate")
	line("corrected", run.Summary["drifted"], "accounts that were changed over there", "-> provost reconcile process --app acme --drift update")
	line("stopped", 1, "run that found nobody, before it did any harm", "-> provost reconcile allow, reject")
	fmt.Fprintf(s.out, "%s, with another address: %s\n", s.stopped.Name, s.stopped.Quarantine)
	fmt.Fprintf(s.out, "A call took %s in the sandbox and %s of fuel (the medians of %d), at most %.1f MB of memory, and never saw the secret.\n",
		durationText(sandboxTime[len(sandboxTime)/2]), fuelText(fuel[len(fuel)/2]), len(sandboxTime), float64(memory)/(1<<20))
	fmt.Fprintln(s.out, "Try it on a server of your own: the README's first config, then provost serve --config provost.yaml")
	return nil
}
