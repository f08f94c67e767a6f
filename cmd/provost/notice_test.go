package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// hook is a webhook's receiver, which takes only what is signed.
type hook struct {
	mu    sync.Mutex
	down  bool
	types []string
	ids   map[string]int
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	verifier, err := standardwebhooks.NewWebhookRaw([]byte("hook-canary"))
	if err != nil || verifier.Verify(body, r.Header) != nil || h.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var p struct {
		Type string `json:"type"`
		Data struct{ Kind, Subject string }
	}
	_ = json.Unmarshal(body, &p)
	h.types = append(h.types, p.Type+" "+p.Data.Kind+" "+p.Data.Subject)
	h.ids[r.Header.Get("webhook-id")]++
}

func (h *hook) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.types...)
}

// postbox is a mail server without sign-in.
type postbox struct {
	mu    sync.Mutex
	mails []string
}

type posting struct{ *postbox }

func (b *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return posting{b}, nil }
func (posting) Mail(string, *smtp.MailOptions) error           { return nil }
func (posting) Rcpt(string, *smtp.RcptOptions) error           { return nil }
func (posting) Reset()                                         {}
func (posting) Logout() error                                  { return nil }
func (p posting) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, string(b))
	return err
}

func TestTwoDaemonsTellOnceOfWhatWaitsThroughARestart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its processes are built without what short runs look for")
	}
	h, box := &hook{ids: map[string]int{}}, &postbox{}
	receiver := httptest.NewServer(h)
	t.Cleanup(receiver.Close)
	server := smtp.NewServer(box)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with Close
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })

	database := storetest.Postgres(t)
	a, b := newServed(t), newServed(t)
	for _, s := range []*served{a, b} {
		s.env = []string{"HOOK_SECRET=hook-canary"}
		s.configure(fmt.Sprintf(`database: {url: %q}
plugins: [{name: mock, source: mock.wasm}]
groups: [{name: admins, members: [boss]}]
credentials: [{name: Mock, endpoint: "http://127.0.0.1:1", anonymous: true}]
apps: [{name: acme, plugin: mock, credential: Mock, approval: group, approval_group: admins}]
notices: {waiting: 1s}
notify:
  - {name: hook, webhook: {url: "%s/hook?token=url-canary", secret: {env: HOOK_SECRET}}}
  - {name: ops, mail: {smtp: %q, tls: none, from: provost@example.com, to: [ops@example.com], gather: 1s}}
  - {name: others, kinds: [connector], mail: {smtp: %q, tls: none, from: provost@example.com, to: [others@example.com]}}
`, database, receiver.URL, l.Addr(), l.Addr()))
	}
	a.start()
	b.start()
	a.add("acme", "ann", "ben")
	a.until("the webhook", func() bool { return len(h.told()) > 0 })
	require.Equal(t, []string{"notice.raised approval acme"}, h.told())
	var listed []api.Notice
	a.until("the mail", func() bool {
		listed = nil
		a.ask("/api/v1/notices", nil, &listed)
		sent := 0
		for _, d := range listed[0].Deliveries {
			if d.State == host.DeliverySent {
				sent++
			}
		}
		return sent == 2
	})
	require.Len(t, listed[0].Deliveries, 2, "others hear of connectors only")
	require.EqualValues(t, 2, listed[0].Waiting)
	require.Contains(t, b.must("", "notice", "list"), "hook, ops")

	// Both go, and what is over is told by who comes first; the webhook is away
	// for a while.
	a.terminate()
	b.terminate()
	a.end()
	b.end()
	h.mu.Lock()
	h.down = true
	h.mu.Unlock()
	a.start()
	b.start()
	a.must("", "request", "deny", "--all", "--app", "acme", "--reason", "no")
	a.until("the failure", func() bool {
		return strings.Contains(a.log.String()+b.log.String(), "people could not be told; it is tried again")
	})
	h.mu.Lock()
	h.down = false
	h.mu.Unlock()
	a.must("", "notice", "test", "hook") // what failed is sent with it
	a.until("the end", func() bool { return len(h.told()) == 3 })
	require.Equal(t, []string{"notice.raised approval acme", "notice.test test hook", "notice.resolved approval acme"}, h.told())
	a.until("the mail of the end", func() bool { box.mu.Lock(); defer box.mu.Unlock(); return len(box.mails) == 2 })
	for id, n := range h.ids {
		require.Equal(t, 1, n, id)
	}
	require.Contains(t, box.mails[0], "requests of acme have waited for approval")
	require.Contains(t, box.mails[1], "Over: approval acme")
	for _, mail := range box.mails {
		require.NotContains(t, mail, "ann")
	}
	require.Contains(t, a.must("", "notice", "list", "--over", "1h"), ", over")
	require.NotContains(t, a.must("", "notice", "list"), "acme")
	_, errs, err := a.run("", "notice", "test", "nobody")
	require.Error(t, err)
	require.Contains(t, errs, `no channel named "nobody"`)
	for _, s := range []*served{a, b} {
		s.terminate()
		s.end()
		require.NotContains(t, s.log.String(), "canary")
	}
}

func TestChannelsAreCheckedBeforeTheyAreTaken(t *testing.T) {
	for name, one := range map[string]struct{ channel, says string }{
		"neither":      {"{name: ops}", "one of webhook and mail"},
		"no secret":    {"{name: ops, webhook: {url: 'https://example.com/canary'}}", "notify.ops.webhook.secret"},
		"no URL":       {"{name: ops, webhook: {url: canary, secret: {value: x}}}", "is no URL"},
		"a password":   {"{name: ops, webhook: {url: 'https://u:canary@example.com/', secret: {value: x}}}", "must not hold"},
		"no address":   {"{name: ops, mail: {smtp: 'mail.example.com:587', from: nobody, to: [a@example.com]}}", "notify.ops.mail.from"},
		"no port":      {"{name: ops, mail: {smtp: mail.example.com, from: a@example.com, to: [a@example.com]}}", "no host:port"},
		"in the clear": {"{name: ops, mail: {smtp: 'm.example.com:25', tls: none, username: u, password: {value: canary}, from: a@example.com, to: [a@example.com]}}", "never a password"},
		"a kind":       {"{name: ops, kinds: [weather], webhook: {url: 'https://example.com/', secret: {value: x}}}", "weather"},
		"unset":        {"{name: ops, webhook: {url: 'https://example.com/', secret: {env: NOT_SET_AT_ALL}}}", "NOT_SET_AT_ALL is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := dir + "/provost.yaml"
			require.NoError(t, os.WriteFile(file, []byte("data_dir: data\nnotify: ["+one.channel+"]\n"), 0o600))
			var out, errs bytes.Buffer
			cfg, err := config.Load(file)
			if err == nil {
				_, err = openDaemon(t.Context(), cfg, newLogger(config.Log{}, &out))
			}
			require.Error(t, err)
			require.Contains(t, err.Error(), one.says)
			require.NotContains(t, err.Error()+out.String()+errs.String(), "canary")
		})
	}
}

func TestWhatADaemonRaisesItselfIsListedUntilItIsOver(t *testing.T) {
	s := approvalHost(t, "sqlite://"+filepath.Join(t.TempDir(), "notice.db"))
	ctx := t.Context()
	s.raise(ctx, host.Notice{Kind: host.NoticeConnector, Subject: "mock", Text: "mock is in quarantine"})
	list, err := s.Notices(ctx, time.Time{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "mock is in quarantine", list[0].Text)
	require.False(t, list[0].Since.IsZero())
	s.resolve(ctx, host.NoticeConnector, "mock")
	list, err = s.Notices(ctx, time.Time{})
	require.NoError(t, err)
	require.Empty(t, list)
	list, err = s.Notices(ctx, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NotNil(t, list[0].Resolved)
}

func TestEachKindOfNoticeFollowsFromWhatIsStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		dir := t.TempDir()
		shareCompiled(t, filepath.Join(dir, "data"))
		file := filepath.Join(dir, "provost.yaml")
		identity, err := secret.GenerateIdentity()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "identity"), []byte(identity), 0o600))
		require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(`
database: {url: %q}
secrets: {identity_file: identity}
plugins: [{name: scim, source: "builtin:scim"}]
credentials:
  - {name: Down, endpoint: "http://127.0.0.1:1", anonymous: true}
  - {name: Slow, endpoint: "http://127.0.0.1:1", anonymous: true}
  - name: Asked
    endpoint: "http://127.0.0.1:1"
    oauth2: {grant: authorization_code, authorization_url: "http://127.0.0.1:1/a", token_url: "http://127.0.0.1:1/t", client_id: x, client_secret: {value: y}}
apps:
  - {name: acme, plugin: scim, credential: Down}
  - {name: globex, plugin: scim, credential: Slow}
  - {name: initech, plugin: scim, credential: Asked}
notices: {target_down: 10m, waiting: 24h}
`, database)), 0o600))
		cfg, err := config.Load(file)
		require.NoError(t, err)
		d, err := openDaemon(t.Context(), cfg, newLogger(config.Log{}, io.Discard))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.close(context.WithoutCancel(t.Context()))) })
		ctx := t.Context()
		now := time.Now().UTC()
		ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
		run := func(app, quarantine string, began time.Duration) *host.UserProvisioningRequest {
			return &host.UserProvisioningRequest{Id: host.NewID(), AppName: app, Operation: host.Reconcile, State: host.StateAnalyzed, Quarantine: quarantine, ApprovalStatus: host.ApprovalNotRequired,
				CreatedDate: *ago(began), StartedDate: ago(began)}
		}
		held, old, fresh := run("acme", "it found ann canary", time.Minute), run("globex", "", 25*time.Hour), run("initech", "", time.Hour)
		plan := &host.Plan{Id: host.NewID(), Kind: "process", State: host.PlanQuarantined, AppName: "acme", Reason: "ann canary", Accounts: 10, Counts: map[string]int64{"Deactivate": 6}, CreatedDate: now}
		require.NoError(t, d.store.Update(ctx, func(tx *store.Tx) error {
			for _, r := range []*host.UserProvisioningRequest{held, old, fresh} {
				if err := tx.InsertRequest(ctx, r); err != nil {
					return err
				}
			}
			if err := tx.InsertPlan(ctx, plan); err != nil {
				return err
			}
			for name, since := range map[string]time.Duration{"Down": 11 * time.Minute, "Slow": 9 * time.Minute} {
				s, err := tx.TargetState(ctx, name, true)
				if err != nil {
					return err
				}
				s.Failures, s.Since, s.RestUntil, s.LastError = 5, ago(since), ago(-time.Minute), "ann canary is unknown here"
				if err := tx.PutTargetState(ctx, s); err != nil {
					return err
				}
			}
			return nil
		}))
		require.NoError(t, d.watchNotices(ctx))
		var got []string
		require.NoError(t, d.store.View(ctx, func(tx *store.Tx) error {
			list, err := tx.Notices(ctx, time.Time{})
			got = nil
			for _, n := range list {
				require.NotContains(t, n.Text, "canary")
				require.Contains(t, n.Text, "   -> provost ")
				got = append(got, string(n.Kind)+" "+n.Subject)
			}
			return err
		}))
		require.ElementsMatch(t, []string{"credential Asked", "threshold " + plan.Name(), "threshold " + held.Name(), "review " + old.Name(), "target Down"}, got)
		list, err := service{d}.Notices(ctx, time.Time{})
		require.NoError(t, err)
		require.Len(t, list, 5)
		require.Contains(t, fmt.Sprint(list), "ann canary is unknown here", "who sits here may know")

		// What a person does ends it.
		require.NoError(t, d.store.Update(ctx, func(tx *store.Tx) error {
			copied := *plan
			copied.State = host.PlanRejected
			return tx.UpdatePlan(ctx, &copied, host.PlanQuarantined)
		}))
		require.NoError(t, d.watchNotices(ctx))
		list, err = service{d}.Notices(ctx, now.Add(-time.Hour))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(fmt.Sprint(list), "passed a threshold with 6 changes of 10"))
		over := 0
		for _, n := range list {
			if n.Resolved != nil {
				over++
				require.Equal(t, plan.Name(), n.Subject)
			}
		}
		require.Equal(t, 1, over)
	})
}
