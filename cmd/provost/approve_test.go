package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// approvalHost is a host of this process whose app needs the manager's
// approval; it works no jobs.
func approvalHost(t *testing.T, databaseURL string) service {
	t.Helper()
	dir := t.TempDir()
	shareCompiled(t, dir)
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
database: {url: %q}
data_dir: %q
listen: {api: '', metrics: ''}
plugins: [{name: mock, source: %q, unsigned: true}]
credentials: [{name: Mock, endpoint: "http://127.0.0.1:9", anonymous: true}]
groups: [{name: it-admins, members: [hedy]}]
apps:
  - {name: acme, plugin: mock, credential: Mock, approval: manager}
  - {name: books, plugin: mock, credential: Mock, approval: expression, approval_rule: 'request.Operation == "Create" ? "group it-admins" : false'}
`, databaseURL, dir, guest(t, "../../plugins/mock")), 0o600))
	cfg, err := config.Load(file)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close(context.WithoutCancel(t.Context()))) })
	return service{d}
}

func TestManyRequestsAreDecidedAboutAtOnceByWhoMay(t *testing.T) {
	const people = 2*bulkBatch + 7
	storetest.Each(t, func(t *testing.T, databaseURL string) {
		s := approvalHost(t, databaseURL)
		var csv strings.Builder
		csv.WriteString("Username,ManagerId\ngrace,\nhedy,\nsolo,\n")
		for i := range people {
			fmt.Fprintf(&csv, "person.%d,grace\n", i)
		}
		_, err := s.importText(t, csv.String(), api.ImportOptions{Format: "csv"})
		require.NoError(t, err)
		for i := range people {
			require.NoError(t, s.Assign(t.Context(), fmt.Sprintf("person.%d", i), "acme"))
		}
		require.NoError(t, s.Assign(t.Context(), "solo", "acme"))
		require.NoError(t, s.Assign(t.Context(), "solo", "books"))

		c := inProcessClient(s.daemon)
		many := func(actor, verb string, choice api.RequestChoice) (api.BulkResult, error) {
			c.actor = actor
			seen := int64(0)
			return stream[api.BulkResult](t.Context(), c, "/api/v1/requests/"+verb, choice, func(done, skipped int64) {
				require.Greater(t, done+skipped, seen)
				seen = done + skipped
			})
		}
		awaiting := func(approver string) int {
			var list []request
			require.NoError(t, c.do(t.Context(), http.MethodGet, "/api/v1/requests", url.Values{"approval": {"Required"}, "approver": {approver}, "limit": {"1000"}}, nil, &list))
			return len(list)
		}
		require.Equal(t, people, awaiting("grace"))
		require.Equal(t, 1, awaiting("hedy"))
		_, err = many("grace", "approve", api.RequestChoice{})
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "neither requests nor all")

		got, err := many("grace", "deny", api.RequestChoice{Ids: []string{"UPR-000001", "2", "UPR-009999", fmt.Sprint(people + 1)}, Reason: "no"})
		require.NoError(t, err)
		require.EqualValues(t, 2, got.Done)
		require.EqualValues(t, 2, got.Skipped)
		require.Contains(t, got.Errors[0], "there is no request UPR-009999")
		require.Contains(t, got.Errors[1], "is not for grace to approve")

		got, err = many("grace", "approve", api.RequestChoice{All: true, App: "acme"})
		require.NoError(t, err)
		require.EqualValues(t, people-2, got.Done)
		require.EqualValues(t, 1, got.Skipped, "solo has no manager: for an administrator")
		require.Zero(t, awaiting("grace"))

		got, err = many("hedy", "approve", api.RequestChoice{All: true, Approver: "hedy"})
		require.NoError(t, err)
		require.Equal(t, api.BulkResult{Done: 1}, got)
		r, logs, err := s.Request(t.Context(), "UPR-000003")
		require.NoError(t, err)
		require.Equal(t, "grace", r.ApprovedBy)
		require.Equal(t, "approved by grace", logs[len(logs)-1].Status+" by "+logs[len(logs)-1].Actor)

		admin := host.Administrator("root")
		got, err = many(admin, "retry", api.RequestChoice{All: true, App: "acme"})
		require.NoError(t, err)
		require.EqualValues(t, 0, got.Done)
		require.EqualValues(t, 2, got.Skipped, "what was denied is asked for again by name only")
		require.Contains(t, got.Errors[0], "was denied by grace")
		got, err = many(admin, "retry", api.RequestChoice{Ids: []string{"1", "2"}})
		require.NoError(t, err)
		require.Equal(t, api.BulkResult{Done: 2}, got)
		require.Equal(t, 2, awaiting("grace"))
		got, err = many(admin, "cancel", api.RequestChoice{All: true})
		require.NoError(t, err)
		require.EqualValues(t, people+2, got.Done)
		require.Zero(t, awaiting("grace"))

		_, err = many(admin, "retry", api.RequestChoice{All: true, App: "nowhere"})
		require.Equal(t, host.NotFound, host.CodeOf(err))
	})
}

func TestAnErasureIsRefusedWhileThereIsWork(t *testing.T) {
	s := approvalHost(t, "sqlite://"+filepath.Join(t.TempDir(), "erase.db"))
	_, err := s.importText(t, "Username\nada\n", api.ImportOptions{Format: "csv"})
	require.NoError(t, err)
	require.NoError(t, s.Assign(t.Context(), "ada", "acme"))
	_, err = s.EraseUser(t.Context(), "ada", false)
	require.Equal(t, host.Conflict, host.CodeOf(err))
	require.ErrorContains(t, err, "UPR-000001 (Create in acme) is New")
	e, err := s.EraseUser(host.WithActor(t.Context(), host.Administrator("root")), "ada", true)
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Requests)
	_, err = s.User(t.Context(), "ada")
	require.Equal(t, host.NotFound, host.CodeOf(err))
	list, err := s.Erasures(t.Context())
	require.NoError(t, err)
	require.Equal(t, "administrator (root)", list[0].Actor)
}

func compileRulesOf(t *testing.T, app config.App) (*rules, []config.Problem) {
	t.Helper()
	return compileRules(app, nil, nil, pdk.Description{})
}

func TestAnApprovalRuleNamesGroupsThatThereAre(t *testing.T) {
	_, problems := compileRulesOf(t, config.App{Name: "acme", ApprovalRule: `user.Departmnt`})
	require.Len(t, problems, 1)
	require.Equal(t, "apps.acme.approval_rule", problems[0].Key)
	app := config.App{Name: "acme", ApprovalRule: `"group it-admins"`}
	r, problems := compileRulesOf(t, app)
	require.Empty(t, problems)
	require.Empty(t, checkApprovalGroups(&config.Config{Groups: []config.Group{{Name: "it-admins"}}}, app, r))
	missing := checkApprovalGroups(&config.Config{}, app, r)
	require.Len(t, missing, 1)
	require.Contains(t, missing[0].Message, `there is no group "it-admins"`)
}
