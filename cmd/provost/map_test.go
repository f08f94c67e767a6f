package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// mapped is a configuration with one app on the connector scim and one person.
func mapped(t *testing.T, app string) (file string) {
	file = filepath.Join(t.TempDir(), "provost.yaml")
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
