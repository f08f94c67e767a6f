package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins/mock/target"
)

// trail lists the audit trail, the oldest first.
func trail(t *testing.T, s service, f api.AuditFilter) (list []*api.AuditEntry) {
	t.Helper()
	f.Limit = 1000
	list, err := s.AuditEntries(t.Context(), f)
	require.NoError(t, err)
	slices.Reverse(list)
	return list
}

// told is an entry in short.
func told(e *api.AuditEntry) string {
	text := e.Actor + " " + string(e.Action) + " " + e.Object.Kind + " " + e.Object.Name + " " + string(e.Outcome)
	if e.Error != "" {
		text += " " + string(e.Error)
	}
	return text
}

func TestWhatPeopleDecideIsAudited(t *testing.T) {
	storetest.Each(t, func(t *testing.T, databaseURL string) {
		s := approvalHost(t, databaseURL)
		ctx := host.WithActor(t.Context(), host.Administrator("root"))
		_, err := s.ImportUsers(ctx, strings.NewReader("Username,ManagerId\ngrace,\nhedy,\nada,grace\n"), api.ImportOptions{Format: "csv", Name: "people.csv"}, nil)
		require.NoError(t, err)
		id := map[string]string{}
		for _, name := range []string{"grace", "hedy", "ada"} {
			u, err := s.User(ctx, name)
			require.NoError(t, err)
			id[name] = u.Id
		}
		require.NoError(t, s.Assign(ctx, "ada", "acme"))
		_, err = s.Approve(host.WithActor(ctx, "hedy"), "1", "I may not")
		require.Equal(t, host.PermissionDenied, host.CodeOf(err))
		_, err = s.Approve(host.WithActor(ctx, "nobody.known"), "1", "")
		require.Equal(t, host.PermissionDenied, host.CodeOf(err))
		_, err = s.Bulk(host.WithActor(ctx, "hedy"), "deny", api.RequestChoice{Ids: []string{"1"}}, func(int64, int64) {})
		require.NoError(t, err)
		_, err = s.Approve(host.WithActor(ctx, "GRACE"), "1", "starts on Monday")
		require.NoError(t, err)
		_, err = s.Cancel(ctx, "1")
		require.NoError(t, err)
		require.NoError(t, s.Assign(ctx, "ada", "books"))
		_, err = s.Bulk(host.WithActor(ctx, "hedy"), "approve", api.RequestChoice{Ids: []string{"UPR-000002"}}, func(int64, int64) {})
		require.NoError(t, err)
		_, err = s.Prune(ctx, false)
		require.NoError(t, err)
		dry := host.WithDryRun(ctx, &host.DryRun{})
		require.NoError(t, s.DeleteUser(dry, "hedy", ""))
		_, err = s.EraseUser(ctx, "hedy", false)
		require.NoError(t, err)

		var got []string
		for _, e := range trail(t, s, api.AuditFilter{}) {
			got = append(got, told(e))
		}
		root := host.Administrator("root")
		require.Equal(t, []string{
			root + " user.import user import done",
			root + " user.assign user " + id["ada"] + " done",
			id["hedy"] + " request.approve request UPR-000001 refused PermissionDenied",
			"unknown user request.approve request UPR-000001 refused PermissionDenied",
			id["hedy"] + " request.deny request UPR-000001 refused PermissionDenied",
			id["grace"] + " request.approve request UPR-000001 done",
			root + " request.cancel request UPR-000001 done",
			root + " user.assign user " + id["ada"] + " done",
			id["hedy"] + " request.approve request UPR-000002 done",
			root + " retention.run retention run done",
			root + " user.erase user " + id["hedy"] + " done",
		}, got)

		// Nobody's name is in it, nor what people wrote of people.
		lines, _, err := s.AuditLines(ctx, api.AuditFilter{Limit: 1000})
		require.NoError(t, err)
		require.Len(t, lines, len(got))
		for _, line := range lines {
			for _, name := range []string{"grace", "hedy", "ada", "nobody.known", "Monday"} {
				require.NotContains(t, strings.ToLower(string(line)), `"`+name, "%s", line)
			}
		}

		// It is found by names, also of whom it can only be said who it was.
		require.Len(t, trail(t, s, api.AuditFilter{Actor: "grace"}), 1)
		require.Equal(t, "grace", trail(t, s, api.AuditFilter{Actor: "grace"})[0].ActorName)
		require.Len(t, trail(t, s, api.AuditFilter{Actor: id["hedy"]}), 3)
		require.Len(t, trail(t, s, api.AuditFilter{Request: "UPR-000001"}), 2)
		require.Len(t, trail(t, s, api.AuditFilter{Kind: "user", Name: "ada"}), 2)
		v, err := s.VerifyAudit(ctx, "")
		require.NoError(t, err)
		require.Empty(t, v.Problem, "erasing somebody left the chain alone")
		require.EqualValues(t, len(got), v.Entries)
	})
}

func TestALinkByHandIsAuditedWithWhatItWas(t *testing.T) {
	s := approvalHost(t, "sqlite://"+filepath.Join(t.TempDir(), "p.db"))
	ctx := host.WithActor(t.Context(), host.Administrator("root"))
	u, err := s.PutUser(ctx, &host.User{User: pdk.User{Username: "ada", IsActive: true}})
	require.NoError(t, err)
	var id string
	require.NoError(t, s.store.Update(ctx, func(tx *store.Tx) error {
		a := &host.UserProvAccount{Id: host.NewID(), AppName: "acme", ConnectedAppId: "x", ExternalUserId: "ada@example.com", LinkState: host.Orphaned, CreatedDate: time.Now()}
		id = a.Id
		return tx.PutAccount(ctx, a)
	}))
	_, err = s.Link(ctx, id, "ada")
	require.NoError(t, err)
	_, err = s.Unlink(ctx, id)
	require.NoError(t, err)
	_, err = s.Ignore(ctx, id)
	require.NoError(t, err)
	list := trail(t, s, api.AuditFilter{Action: "account"})
	require.Len(t, list, 3)
	require.JSONEq(t, fmt.Sprintf(`{"app": "acme", "before": {"linkState": "orphaned"}, "after": {"linkState": "linked", "user": %q, "byHand": true}}`, u.Id), string(list[0].Details))
	require.JSONEq(t, fmt.Sprintf(`{"app": "acme", "after": {"linkState": "orphaned", "byHand": true}, "before": {"linkState": "linked", "user": %q, "byHand": true}}`, u.Id), string(list[1].Details))
	require.Equal(t, host.AuditAccountIgnore, list[2].Action)
	require.Equal(t, "UPA-000001", list[2].Object.Name)
}

// A real daemon: what is changed in files, by whom; the commands that show it,
// check it and take it elsewhere.
func TestTheAuditTrailOfADaemonIsListedVerifiedAndExported(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("")
	server := httptest.NewServer(app)
	defer server.Close()
	identity := s.must("", "credential", "identity")
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "id"), []byte(identity), 0o600))
	const head = "secrets: {identity_file: id}\nplugins: [{name: mock, source: mock.wasm, unsigned: true}]\n"
	s.configure(head)
	s.start()
	s.must(fmt.Sprintf("name: Mock\nendpoint: %q\nbearer: {token: {value: canary-4711}}\n", server.URL), "credential", "apply", "-f", "-")
	s.must(`{"name": "acme", "plugin": "mock", "credential": "Mock"}`, "app", "apply", "-f", "-")
	s.must("canary-4712", "credential", "rotate", "Mock", "--secret-file", "-")
	s.configure(head + "retention: {runs: nonsense}\n")
	s.until("the refusal", func() bool { return strings.Contains(s.log.String(), "is refused") })
	s.configure(head + "retention: {traces: 30d}\n")
	reloads := func() (list []*api.AuditEntry) {
		s.ask("/api/v1/audit", map[string][]string{"action": {"config.reload"}, "limit": {"100"}}, &list)
		return list
	}
	s.until("the reload", func() bool {
		list := reloads()
		return len(list) > 0 && strings.Contains(string(list[0].Details), `"retention.traces"`)
	})
	newest := reloads()
	require.Equal(t, "administrator (file) config.reload config "+s.file+" done", told(newest[0]))
	require.Equal(t, "administrator (file) config.reload config "+s.file+" refused InvalidInput", told(newest[1]))
	require.Contains(t, string(newest[1].Details), "retention.runs (line")
	require.NotContains(t, string(newest[1].Details), "nonsense")

	var list []*api.AuditEntry
	require.NoError(t, json.Unmarshal([]byte(s.must("", "audit", "list", "-o", "json")), &list))
	byAction := map[host.AuditAction]*api.AuditEntry{}
	for _, e := range list {
		byAction[e.Action] = e
	}
	require.Equal(t, host.AuditDaemonStart, list[len(list)-1].Action)
	for action, want := range map[host.AuditAction]string{host.AuditCredentialApply: "+credentials.Mock", host.AuditAppApply: "+apps.acme", host.AuditCredentialRotate: "credentials.Mock.bearer.token"} {
		require.NotNil(t, byAction[action], action)
		require.Contains(t, string(byAction[action].Details), want)
		require.True(t, host.IsAdministrator(byAction[action].Actor))
		require.NotEqual(t, host.Administrator("file"), byAction[action].Actor)
	}
	table := s.must("", "audit", "list", "--action", "credential", "--limit", "1")
	require.Contains(t, table, "credential.rotate")
	require.NotContains(t, table, "credential.apply")
	require.Contains(t, s.must("", "audit", "list", "--since", "1h"), "daemon.start")
	require.NotContains(t, s.must("", "audit", "list", "--until", "1h"), "daemon.start")
	_, errs, err := s.run("", "audit", "list", "--since", "yesterday")
	require.Error(t, err)
	require.Contains(t, errs, "is no time")

	s.until("the head in the log", func() bool { return strings.Contains(s.log.String(), `"the audit trail ends here`) })
	verified := s.must("", "audit", "verify")
	_, kept, ok := strings.Cut(strings.TrimSpace(verified), "--expect ")
	require.True(t, ok, verified)
	s.must("", "audit", "verify", "--expect", kept)
	_, errs, err = s.run("", "audit", "verify", "--expect", strings.Repeat("0", 64))
	require.Error(t, err)
	require.Contains(t, errs, "cut off or written anew")

	export := s.must("", "audit", "export")
	require.NotContains(t, export, "canary")
	file := filepath.Join(s.dir, "trail.jsonl")
	s.must("", "audit", "export", "--out", file)
	require.Contains(t, s.must("", "audit", "verify", file, "--expect", kept), "as they were written")
	tail := s.must("", "audit", "export", "--after", "2")
	require.Contains(t, s.must(tail, "audit", "verify", "-"), "behind 2:")
	_, errs, err = s.run(strings.Replace(export, "credential.rotate", "credential.revoke", 1), "audit", "verify", "-")
	require.Error(t, err)
	require.Contains(t, errs, "content was changed")

	s.must("", "app", "delete", "acme")
	s.terminate()
	s.end()
	// The same where no daemon runs.
	s.must("", "credential", "delete", "Mock")
	out := s.must("", "audit", "list")
	for _, action := range []host.AuditAction{host.AuditDaemonStop, host.AuditAppDelete, host.AuditCredentialForget, host.AuditCredentialDelete} {
		require.Contains(t, out, string(action))
	}
	s.must("", "audit", "verify", "--expect", kept)
}

// Two daemons on one database: each change by either is in the one chain.
func TestTwoDaemonsKeepOneAuditTrail(t *testing.T) {
	url := storetest.Postgres(t)
	hosts := []service{approvalHost(t, url), approvalHost(t, url)}
	var tasks sync.WaitGroup
	for i, s := range hosts {
		for n := range 3 {
			tasks.Go(func() {
				ctx := host.WithActor(t.Context(), host.Administrator(fmt.Sprint("root of ", i)))
				for k := range 5 {
					u, err := s.PutUser(ctx, &host.User{User: pdk.User{Username: fmt.Sprintf("u%d.%d.%d", i, n, k), IsActive: true}})
					if err == nil {
						err = s.Assign(ctx, u.Id, "acme")
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	tasks.Wait()
	v, err := hosts[0].VerifyAudit(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, v.Problem)
	require.EqualValues(t, 2*3*5*2, v.Entries)
}

func TestDetailsAreShownInOneLine(t *testing.T) {
	require.Equal(t, "after 0123456789ab, changed [a, b], force, rows {users:2}",
		detailsText(json.RawMessage(`{"changed":["a","b"],"after":"`+strings.Repeat("0123456789abcdef", 4)+`","force":true,"off":false,"none":0,"rows":{"users":2},"empty":""}`)))
	require.Empty(t, detailsText(nil))
}
