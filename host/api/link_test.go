package api_test

import (
	"context"
	"encoding/csv"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// threeAccounts are two pages of accounts.
type threeAccounts struct{ api.Service }

func (threeAccounts) Accounts(_ context.Context, f api.AccountFilter) (api.Listing[*host.UserProvAccount], error) {
	if f.App != "acme" {
		return api.Listing[*host.UserProvAccount]{}, host.Errorf(host.NotFound, "there is no app %q", f.App)
	}
	if f.Cursor == "" {
		return api.Listing[*host.UserProvAccount]{Next: "more", Rows: []*host.UserProvAccount{
			{Number: 1, AppName: "acme", ExternalUsername: `=HYPERLINK("https://evil.example","me")`, ExternalUserId: "-1", LinkState: host.Orphaned},
			{Number: 2, AppName: "acme", ExternalUsername: "ada, \"the\" countess", ExternalFirstName: "@SUM(A1)", UserId: "u-1", LinkState: host.Linked}}}, nil
	}
	return api.Listing[*host.UserProvAccount]{Rows: []*host.UserProvAccount{{Number: 3, AppName: "acme", ExternalUsername: "\tgrace", LinkState: host.Ignored}}}, nil
}

func (threeAccounts) Usernames(context.Context, []string) (map[string]string, error) {
	return map[string]string{"u-1": "+ada"}, nil
}

func exported(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	served(threeAccounts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestAnExportOfAccountsHasAllPagesAndNoFormula(t *testing.T) {
	w := exported(t, "/api/v1/apps/acme/accounts/export")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, `attachment; filename="accounts.csv"`, w.Header().Get("Content-Disposition"))
	rows, err := csv.NewReader(w.Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 4)
	for _, row := range rows {
		for _, cell := range row {
			require.False(t, cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r"), "%q would be a formula", cell)
		}
	}
	require.Equal(t, []string{"UPA-000002", "acme", "linked", "'+ada", "u-1", `ada, "the" countess`}, rows[2][:6])

	w = exported(t, "/api/v1/apps/acme/accounts/export?format=jsonl")
	require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
	require.Len(t, strings.Split(strings.TrimSpace(w.Body.String()), "\n"), 3)
	require.Contains(t, w.Body.String(), `"Username":"+ada"`, "JSON is no spreadsheet")
}

func TestAnExportThatCannotBeginIsAProblem(t *testing.T) {
	require.Equal(t, http.StatusUnprocessableEntity, exported(t, "/api/v1/apps/acme/accounts/export?format=xlsx").Code)
	require.Equal(t, http.StatusNotFound, exported(t, "/api/v1/apps/globex/accounts/export").Code)
}
