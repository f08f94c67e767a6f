package mapping_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

func johnsAccount() *host.UserProvAccount {
	return &host.UserProvAccount{AppName: "acme", ExternalUserId: "7", ExternalUsername: "jdoe", ExternalEmail: "J@x", Attributes: map[string]any{
		"title": "Boss", "employeeNumber": 12345678.0, "emails": []any{map[string]any{"type": "work", "value": "J@x"}},
		"urn:x:2.0:User": map[string]any{"costCenter": 42.0},
	}}
}

func TestATargetsValuesAreTakenForOurs(t *testing.T) {
	in, err := tables.CompileInbound([]string{
		"Title = account.attributes.title", "Email = lower(attribute(account, \"emails[work].value\"))", "EmployeeNumber = account.attributes.employeeNumber",
		"Department = account.attributes.department", "Division = account.attributes.division [empty leaves]", "badge = account.attributes.badge",
		`costCentre = attribute(account, "urn:x:2.0:User:costCenter")`,
	}, []string{"costCentre", "badge"})
	require.NoError(t, err)
	u := user()
	u.Division, u.Custom = "West", map[string]any{"badge": "B", "other": 1.0}
	after, err := in.Accept(u, johnsAccount())
	require.NoError(t, err)
	require.Equal(t, "Boss", after.Title)
	require.Equal(t, "j@x", after.Email)
	require.Equal(t, "12345678", after.EmployeeNumber)
	require.Empty(t, after.Department, "what the target has no more, we have no more")
	require.Equal(t, "West", after.Division)
	require.Equal(t, map[string]any{"costCentre": 42.0, "other": 1.0}, after.Custom)
	require.Equal(t, "JO'Brien", after.Username)
	require.Equal(t, map[string]any{"badge": "B", "other": 1.0}, u.Custom, "the user that was given is as it was")
}

func TestAWrongInboundRuleIsTold(t *testing.T) {
	for rule, want := range map[string]string{
		"Titel = account.attributes.title":        "did you mean Title?",
		"Username = account.ExternalUsername":     "that a target may give",
		"IsActive = true":                         "that a target may give",
		"Profile = \"Administrators\"":            "that a target may give",
		"Title = user.Title":                      `"user"`,
		"Title = account.ExternalUsernam":         "did you mean account.ExternalUsername?",
		"Title = account.Status [on create]":      "[on create] is for what is sent",
		"Title":                                   "Field = expression",
		"Title = lookup(\"zzz\", account.Status)": "no table",
	} {
		_, err := mapping.Tables{}.CompileInbound([]string{rule}, nil)
		require.ErrorContains(t, err, want, rule)
	}
	_, err := mapping.Tables{}.CompileInbound([]string{"Title = account.Status", "Title = account.Status"}, nil)
	require.ErrorContains(t, err, "twice")
	in, err := mapping.Tables{}.CompileInbound([]string{"Title = account.attributes"}, nil)
	require.NoError(t, err)
	_, err = in.Accept(user(), johnsAccount())
	require.ErrorContains(t, err, "Title for account jdoe of acme: ends in an object")
}

// When the target's values have been taken for ours by rules that mirror the
// mapping, there is no drift any more.
func TestWhatIsAcceptedIsDriftNoMore(t *testing.T) {
	m, err := mapping.Compile([]string{"title = user.Title", "name.givenName = user.FirstName", "department = user.Department", "badge = user.badge"}, nil)
	require.NoError(t, err)
	in, err := mapping.Tables{}.CompileInbound([]string{"Title = account.attributes.title", "FirstName = account.attributes.name?.givenName", "Department = attribute(account, \"department\")",
		"badge = account.attributes.badge"}, []string{"badge"})
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Just(""))
		u := &host.User{User: pdk.User{Username: "a", Title: text.Draw(t, "our title"), Department: text.Draw(t, "our department")}}
		there := &host.User{User: pdk.User{Username: "b", Title: text.Draw(t, "title"), FirstName: text.Draw(t, "first"), Department: text.Draw(t, "department"), Custom: map[string]any{"badge": text.Draw(t, "badge")}}}
		have, err := m.Apply(there)
		require.NoError(t, err)
		have = stored(t, have)
		after, err := in.Accept(u, &host.UserProvAccount{Attributes: have})
		require.NoError(t, err)
		want, err := m.Apply(after)
		require.NoError(t, err)
		require.Empty(t, m.Drift(want, have, false))
	})
}
