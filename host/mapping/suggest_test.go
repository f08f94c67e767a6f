package mapping

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
)

func TestRulesAreSuggestedForWhatIsNotMapped(t *testing.T) {
	attributes := []pdk.Attribute{
		{Name: "userName", Required: true, Unique: true}, {Name: "id", ReadOnly: true},
		{Name: "name", Type: "complex", Required: true, SubAttributes: []pdk.Attribute{{Name: "givenName"}, {Name: "familyName", Required: true}}},
		{Name: "emails", Type: "complex", MultiValued: true, SubAttributes: []pdk.Attribute{{Name: "value"}, {Name: "type"}, {Name: "primary", Type: "boolean"}}},
		{Name: "urn:example:ext:User:costCenter"}, {Name: "urn:example:ext:User:department"},
		{Name: "active", Type: "boolean"}, {Name: "active2", Type: "boolean"}, {Name: "shoeSize"}, {Name: "job-title"}, {Name: "enabled"},
	}
	got := Suggest(attributes, []string{"emails.work = user.Email"}, []string{"userName = lower(user.Username)"}, []string{"costCenter"})
	rules := make([]string, len(got))
	for i, s := range got {
		rules[i] = s.Rule
	}
	require.Equal(t, []string{
		"userName = lower(user.Username)", "name.givenName = user.FirstName", "name.familyName = user.LastName",
		"urn:example:ext:User:costCenter = user.costCenter", "urn:example:ext:User:department = user.Department", "active = user.IsActive", "job-title = user.Title",
	}, rules, "the e-mail is mapped, the id is the target's, of the shoe size nothing is known, and enabled is no truth value")
	require.True(t, got[0].Required && got[0].Unique)
	require.True(t, got[2].Required, "where both are")
	require.False(t, got[1].Required)
	_, err := Compile(rules, attributes)
	require.NoError(t, err, "what is suggested can be taken as it is")
}
