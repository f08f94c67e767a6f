package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
)

// mapped is a configuration with one app on the connector scim and one person.
func mapped(t *testing.T, app string) (file string) {
	dir := t.TempDir()
	shareCompiled(t, filepath.Join(dir, "data"))
	file = filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`plugins: [{name: scim, source: "builtin:scim"}]
credentials: [{name: Acme, endpoint: "http://127.0.0.1:1/", anonymous: true}]
tables:
  - {name: costCenters, values: [{key: "R&D", value: CC-7}, {key: Finance, value: CC-1}]}
apps:
  - name: acme
    plugin: scim
    credential: Acme
`+app), 0o600))
	return file
}

const jdoe = "Username,FirstName,LastName,Email,Department,IsActive\njdoe,John,Doe,jdoe@example.com,R&D,true\n"

func TestAMappingIsTriedOnAUserBeforeAnythingRuns(t *testing.T) {
	file := mapped(t, `    mapping:
      - userName = unique(lower(first(user.FirstName) + user.LastName)) [on create]
      - name.familyName = user.LastName
      - title = user.Title [empty leaves]
      - nickName = lookup("costCenters", user.Department)
      - password = randomPassword(16)
`)
	require.Zero(t, provost("config", "validate", file).code)
	r := provostWith(jdoe, "user", "import", "-", "-c", file, "--format", "csv")
	require.Zero(t, r.code, r.errors)

	r = provost("app", "map", "test", "--app", "acme", "--user", "jdoe", "-c", file, "-o", "json", "--rule", "name.familyName = upper(user.LastName)", "--rule", "displayName = user.FirstName")
	require.Zero(t, r.code, r.errors)
	var got api.Mapping
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Equal(t, api.Mapping{App: "acme", User: "jdoe", Rules: []api.MappingRule{
		{Path: "userName", Expression: "unique(lower(first(user.FirstName) + user.LastName))", OnCreate: true, Unique: true, Value: "jdoe"},
		{Path: "name.familyName", Expression: "upper(user.LastName)", Value: "DOE"},
		{Path: "title", Expression: "user.Title", EmptyLeaves: true},
		{Path: "nickName", Expression: `lookup("costCenters", user.Department)`, Value: "CC-7"},
		{Path: "password", Expression: "randomPassword(16)", OnCreate: true, Secret: true},
		{Path: "displayName", Expression: "user.FirstName", Value: "John"},
	}}, got)

	r = provost("app", "map", "test", "--app", "acme", "--user", "jdoe", "-c", file)
	require.Zero(t, r.code, r.errors)
	require.Contains(t, r.out, "jdoe")
	require.Contains(t, r.out, "(a new password)")
	require.Contains(t, r.out, "Doe", "a rule that was tried is not kept")

	r = provost("app", "map", "test", "--app", "acme", "--user", "jdoe", "-c", file, "--rule", "title = formatDate(user.LastName, 'yyyy')")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, `"Doe" is no date`)
	require.Contains(t, r.errors, "1 problem")

	r = provost("app", "map", "test", "--app", "acme", "--user", "jdoe", "-c", file, "--rule", "title = uper(user.LastName)")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, `did you mean "upper"`)
	require.Contains(t, provost("app", "map", "test", "--app", "acm", "--user", "jdoe", "-c", file).errors, `"acm" is not in the configuration`)
	require.Contains(t, provost("app", "map", "test", "--app", "acme", "--user", "nobody", "-c", file).errors, "nobody")
}

func TestWhatIsAcceptedOfATargetIsTheUsers(t *testing.T) {
	file := mapped(t, `    import_mapping: ["Title = account.attributes.title", 'Department = account.attributes.dep [empty leaves]']
    reconcile: {drift: accept}
`)
	r := provostWith(jdoe, "user", "import", "-", "-c", file, "--format", "csv")
	require.Zero(t, r.code, r.errors)
	cfg, err := config.Load(file)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close(context.WithoutCancel(t.Context()))) }()
	account := &host.UserProvAccount{AppName: "acme", ExternalUsername: "jdoe", Attributes: map[string]any{"title": "Boss"}}
	require.NoError(t, txStore{d}.update(t.Context(), func(tx tx) error {
		u, err := tx.UserByUsername(t.Context(), "jdoe")
		if err != nil {
			return err
		}
		return tx.Accept(t.Context(), u, account)
	}))
	u, err := service{d}.User(t.Context(), "jdoe")
	require.NoError(t, err)
	require.Equal(t, "Boss", u.Title)
	require.Equal(t, "R&D", u.Department)
	require.Equal(t, "jdoe@example.com", u.Email, "what no rule names stays")
	fields, err := d.current.Load().rules["acme"].Inbound(account)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"Title": "Boss"}, fields)
}

func TestAMappingWithoutWhatTheConnectorNeedsIsRefused(t *testing.T) {
	file := mapped(t, "    mapping: [\"title = user.Title\", 'nickName = lookup(\"costCentres\", user.Title)']\n")
	r := provost("config", "validate", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors+r.out, `did you mean "costCenters"?`)

	file = mapped(t, "    mapping: [\"title = user.Title\"]\n")
	r = provost("config", "validate", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors+r.out, "the connector needs userName, and nothing maps it")

	file = mapped(t, "    import_mapping: [\"Titel = account.attributes.title\"]\n")
	require.Contains(t, provost("config", "validate", file).errors, "did you mean Title?")
	file = mapped(t, "    reconcile: {drift: accept}\n")
	require.Contains(t, provost("config", "validate", file).errors, "nothing says what is taken")
}

// A whole daemon with the connector scim and a real SCIM server: people of one
// name, one of whom was there before, and passwords that are seen by the target
// alone, which repeats all that it is sent.
func TestPeopleOfOneNameAreProvisionedAndTheirPasswordsAreSeenNowhere(t *testing.T) {
	t.Parallel()
	server, err := scimtarget.New(scimtarget.Options{})
	require.NoError(t, err)
	_, err = server.Add(map[string]any{"userName": "JDoe", "emails": []any{map[string]any{"type": "work", "value": "other@example.com"}}})
	require.NoError(t, err)
	var mu sync.Mutex
	passwords := map[string]bool{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		var sent struct{ Password string }
		if json.Unmarshal(b, &sent) == nil && sent.Password != "" {
			mu.Lock()
			passwords[sent.Password] = true
			first := len(passwords) == 1
			mu.Unlock()
			w.Header().Set("X-Echo", sent.Password)
			if first {
				w.Header().Set("Content-Type", "application/scim+json")
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintf(w, `{"detail": "you sent %s"}`, b)
				return
			}
		}
		server.ServeHTTP(w, r)
	}))
	defer front.Close()
	s := newServed(t)
	s.configure(fmt.Sprintf(`
plugins: [{name: scim, source: "builtin:scim"}]
credentials: [{name: Acme, endpoint: %q, anonymous: true}]
apps:
  - name: acme
    plugin: scim
    credential: Acme
    mapping:
      - userName = unique(lower(first(user.FirstName) + user.LastName))
      - emails[work].value = user.Email
      - externalId = user.Id [on create]
      - title = user.Title
      - password = randomPassword(24)
`, front.URL))
	s.start()
	people := "Username,FirstName,LastName,Email,IsActive\n"
	for i := range 6 {
		people += fmt.Sprintf("p%d,John,Doe,shared@example.com,true\n", i)
	}
	s.must(people, "user", "import", "-", "--format", "csv", "--assign", "acme")
	s.completed("acme", 6)
	var names []string
	for _, a := range server.Accounts() {
		name, _ := a.Attributes["userName"].(string)
		names = append(names, name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"JDoe", "jdoe2", "jdoe3", "jdoe4", "jdoe5", "jdoe6", "jdoe7"}, names)
	var accounts []host.UserProvAccount
	s.ask("/api/v1/accounts", url.Values{"app": {"acme"}}, &accounts)
	of := map[string]bool{}
	for _, a := range accounts {
		of[a.UserId] = true
	}
	require.Len(t, of, 6, "each has one of their own")

	var shown strings.Builder
	for _, r := range s.requests("acme") {
		shown.WriteString(s.must("", "request", "get", r.Name, "--trace", "-o", "json"))
	}
	s.must("", "request", "create", "--user", "p0", "--app", "acme", "--operation", "Update", "--wait")
	shown.WriteString(s.must("", "app", "map", "test", "--app", "acme", "--user", "p0", "-o", "json"))
	s.terminate()
	s.end()
	shown.WriteString(s.log.String())
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, len(passwords), 7, "each attempt has one of its own")
	require.NoError(t, filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		shown.Write(b)
		return err
	}))
	for p := range passwords {
		require.False(t, strings.Contains(shown.String(), p), "%s is seen", p)
	}
}
