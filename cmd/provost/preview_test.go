package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func TestWhatOtherRulesWouldDoToEverybodyIsShownAndNothingHappens(t *testing.T) {
	t.Parallel()
	s, target, _ := acme(t, "", "limits: {failures: 2}")
	s.must("Username,FirstName,LastName,Email,Department,Title\nada,Ada,Lovelace,ada@example.com,Maths,countess\ngrace,Grace,Hopper,grace@example.com,Navy,admiral\nalan,Alan,Turing,alan@example.com,Maths,\n", "user", "import", "-", "--format", "csv")
	s.allCompleted(3)
	_, err := target.Add(map[string]any{"userName": "stranger", "active": true, "displayName": "grace@example.com", "name": map[string]any{"givenName": "Ada", "familyName": "Lovelace"}})
	require.NoError(t, err)
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	before := target.Accounts()

	out := s.must("", "app", "preview", "acme", "--rule", "title = upper(user.Title)", "--scope", `user.Department == "Maths"`)
	require.Contains(t, out, "of 3 users 1 would get other values (title 1), 0 would come in, 1 would leave, of 0 nothing could be made")
	require.Regexp(t, `ada\s+changed\s+title\s+countess\s+COUNTESS`, out)
	require.Regexp(t, `grace\s+withdrawn`, out)

	// The same from a changed configuration.
	text, err := os.ReadFile(s.file)
	require.NoError(t, err)
	changed := filepath.Join(t.TempDir(), "new.yaml")
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), "scope: user.IsActive", `scope: user.Department == "Navy", link: ['account.attributes.name.familyName = user.LastName']`, 1)), 0o600))
	var f host.Effect
	require.NoError(t, json.Unmarshal([]byte(s.must("", "app", "preview", "acme", "-f", changed, "-o", "json")), &f))
	require.Equal(t, []int64{3, 2, 4, 1, 0}, []int64{f.Users, f.Withdrawn, f.Accounts, f.Linked, f.Relinked})
	require.Contains(t, f.Examples, host.EffectExample{Subject: "stranger", What: "linked", Now: "orphaned", Then: "ada"})

	for says, args := range map[string][]string{
		"did you mean user.Department": {"acme", "--scope", "user.Departmant == 'x'"},
		"is not in the configuration":  {"nowhere", "--scope", "true"},
		"mapping: title":               {"acme", "--rule", "title = upper("},
		"no such file":                 {"acme", "-f", filepath.Join(t.TempDir(), "none.yaml")},
	} {
		_, errs, err := s.run("", append([]string{"app", "preview"}, args...)...)
		require.Error(t, err, args)
		require.Contains(t, errs, says)
	}
	require.Equal(t, before, target.Accounts(), "nothing was sent")
	require.Len(t, strings.Split(strings.TrimSpace(s.must("", "request", "list")), "\n"), 1+3+1, "and nothing was asked for")
}
