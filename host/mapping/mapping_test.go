package mapping_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

func user() *host.User {
	return &host.User{User: pdk.User{Id: "1", Username: "JO'Brien", FirstName: "Jürgen", LastName: "O’Brien", Email: "J.OBrien@Example.com", IsActive: true,
		Department: "R&D", Custom: map[string]any{"costCentre": 42.0, "badge": ""}}}
}

func attributes(t *testing.T, rules ...string) map[string]any {
	m, err := mapping.Compile(rules, []pdk.Attribute{{Name: "emails", Type: "complex", MultiValued: true}})
	require.NoError(t, err)
	out, err := m.Apply(user())
	require.NoError(t, err)
	return out
}

func TestAMappingMakesNestedAttributes(t *testing.T) {
	got := attributes(t,
		"userName = lower(user.Email)", "name.givenName = user.FirstName", "name.familyName = user.LastName", "active = user.IsActive",
		"emails.work = user.Email", `title = user.Title`, "urn:x:User:costCentre = user.costCentre",
		`nickName = user.Department == "R&D" ? ascii(user.FirstName + " " + user.LastName) : ""`)
	require.Equal(t, map[string]any{
		"userName": "j.obrien@example.com", "name": map[string]any{"givenName": "Jürgen", "familyName": "O’Brien"}, "active": true,
		"emails":     []any{map[string]any{"type": "work", "value": "J.OBrien@Example.com"}},
		"urn:x:User": map[string]any{"costCentre": 42.0},
		"nickName":   "Juergen O'Brien",
	}, got, "an empty title is no attribute")
}

func TestEveryWrongRuleIsToldWithItsPlace(t *testing.T) {
	_, err := mapping.Compile([]string{"userName = user.Username", "userName = user.Email", "x = user.Usernam", "y", "a b = user.Id", "z = user.Id +"}, nil)
	require.Error(t, err)
	var places []int
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var r *mapping.RuleError
		require.True(t, errors.As(e, &r))
		places = append(places, r.Index)
	}
	require.Equal(t, []int{1, 2, 3, 4, 5}, places)
	require.ErrorContains(t, err, "Username", "the nearest name is told")
}

func TestAValueThatCantBeMadeNamesTheRuleAndTheUser(t *testing.T) {
	m, err := mapping.Compile([]string{`x = user.nothing.deeper`}, nil)
	require.NoError(t, err)
	_, err = m.Apply(user())
	require.ErrorContains(t, err, "mapping of x for JO'Brien")
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
}

func TestWhatAConnectorNeedsAndNothingMapsIsTold(t *testing.T) {
	needs := []pdk.Attribute{{Name: "userName", Required: true}, {Name: "title"}, {Name: "emails", Type: "complex", MultiValued: true, Required: true},
		{Name: "name", Type: "complex", SubAttributes: []pdk.Attribute{{Name: "familyName", Required: true}, {Name: "givenName"}}}, {Name: "password", Required: true}}
	for _, one := range []struct{ rules, missing []string }{
		{nil, []string{"userName", "emails", "password"}},
		{[]string{"username = user.Username", "emails.work = user.Email", "password = randomPassword()"}, nil},
		{[]string{"userName = user.Username", "emails = []", "name.givenName = user.FirstName"}, []string{"name.familyName", "password"}},
		{[]string{"userNameToo = user.Username", "emails[work].value = user.Email", "name = {}", "password = user.Id"}, []string{"userName"}},
	} {
		m, err := mapping.Compile(one.rules, needs)
		require.NoError(t, err)
		require.Equal(t, one.missing, m.Unmapped(needs), one.rules)
	}
}

func TestOnlyWhatDiffersHasChanged(t *testing.T) {
	m, err := mapping.Compile([]string{"userName = user.Username", "active = user.IsActive", "name.givenName = user.FirstName", "title = user.Title"}, nil)
	require.NoError(t, err)
	before := map[string]any{"userName": "a", "active": true, "name": map[string]any{"givenName": "A"}}
	after := map[string]any{"userName": "a", "active": false, "name": map[string]any{"givenName": "B"}, "title": ""}
	require.Equal(t, []string{"name.givenName"}, m.Changed(before, after), "active is an operation of its own; no title is an empty one")
	require.Empty(t, m.Changed(after, after))
}

func TestDriftComparesAsATargetWould(t *testing.T) {
	m, err := mapping.Compile([]string{"userName = user.Username", "active = user.IsActive", "size = user.Custom.size", "title = user.Title"}, nil)
	require.NoError(t, err)
	want := map[string]any{"userName": "a", "active": true, "size": 7.0}
	require.Empty(t, m.Drift(want, map[string]any{"userName": "a", "active": "True", "size": "7", "extra": 1}, false))
	require.Equal(t, []host.Difference{{Path: "userName", Want: "a"}}, m.Drift(want, map[string]any{"active": true, "size": 7.0}, false))
	require.Empty(t, m.Drift(want, map[string]any{"active": true}, true), "what a list did not give is unknown")
	require.Equal(t, []host.Difference{{Path: "title", Want: nil, Have: "Boss"}}, m.Drift(want, map[string]any{"userName": "a", "active": true, "size": 7, "title": "Boss"}, false))
}

func TestAScopeIsTrueOrFalse(t *testing.T) {
	s, err := mapping.CompileScope(`user.Department == "R&D" && user.IsActive`)
	require.NoError(t, err)
	in, err := s.Holds(user())
	require.NoError(t, err)
	require.True(t, in)
	s, err = mapping.CompileScope(`user.Department`)
	if err == nil { // what an attribute of the organisation's own is, only a user tells
		_, err = s.Holds(user())
	}
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
	_, err = mapping.CompileScope(`user.Departmen == ""`)
	require.ErrorContains(t, err, "Department")
}

func TestLinkRulesWorkInEitherOrder(t *testing.T) {
	for _, rule := range []string{"account.ExternalUsername = user.Username", "user.Username = account.ExternalUsername"} {
		l, err := mapping.CompileLinks([]string{rule})
		require.NoError(t, err)
		require.Equal(t, 1, l.Len())
		ofUser, err := l.UserKeys(user())
		require.NoError(t, err)
		require.Len(t, ofUser, 1)
		ofAccount, _, err := l.AccountKeys(0, &host.UserProvAccountStaging{ExternalUsername: "JO'Brien"})
		require.NoError(t, err)
		require.Equal(t, []string{ofUser[0].Key}, ofAccount)
	}
	l, err := mapping.CompileLinks([]string{"account.attributes.employeeNumber = user.number"})
	require.NoError(t, err)
	none, _, err := l.AccountKeys(0, &host.UserProvAccountStaging{})
	require.NoError(t, err)
	require.Empty(t, none, "nothing matches nothing")
	_, err = mapping.CompileLinks([]string{"account.ExternalUsername = user.Usernam", "x"})
	require.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 2)
}

// What is mapped of a user is what the mapping wants of the account: no drift,
// and no change, whatever the user's text.
func TestWhatWasMappedHasNeitherDriftNorChange(t *testing.T) {
	m, err := mapping.Compile([]string{"userName = lower(user.Username)", "name.givenName = ascii(user.FirstName)", "name.familyName = trim(user.LastName)", "active = user.IsActive", "emails[work].value = user.Email"}, nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		u := &host.User{User: pdk.User{Username: rapid.String().Draw(t, "username"), FirstName: rapid.String().Draw(t, "first"), LastName: rapid.String().Draw(t, "last"),
			Email: rapid.String().Draw(t, "email"), IsActive: rapid.Bool().Draw(t, "active")}}
		a, err := m.Apply(u)
		require.NoError(t, err)
		b, err := m.Apply(u)
		require.NoError(t, err)
		require.Empty(t, m.Changed(a, b))
		require.Empty(t, m.Drift(a, b, false))
	})
}

func FuzzRulesNeverPanic(f *testing.F) {
	for _, s := range []string{"a = user.Id", "a.b = lower(user.Email)", "x = substring(user.Username, 0, 3)", "e[work].value = user.Custom['x']", "= =", "a = [user.Id]", "a = 1/0",
		"a = user.Id [on create, empty leaves]", "a = user.Id [on creat]", "a = user.Id [0:1]", "urn:a:b:c = unique(user.Id, \"@x\")", "a[b] = user.Id == \"\" ? unique(\"a\") : nil [on create]",
		"p = randomPassword(8)", "d = formatDate(user.Email, \"yyyy-MM-dd'T'HH\")", "l = lookup(\"costCenters\", user.Department) ?? \"x\"", "Title = attribute(account, \"emails[work].value\") [empty leaves]",
		"a = reduce(1..60, #acc + #acc, \"xx\")", "a = repeat(user.Username, 9999) + join(map(1..999, string(#)), \"-\")"} {
		f.Add(s)
	}
	needs := []pdk.Attribute{{Name: "emails", Type: "complex", MultiValued: true}, {Name: "name", Type: "complex", Required: true, SubAttributes: []pdk.Attribute{{Name: "b", Required: true}}}}
	f.Fuzz(func(t *testing.T, rule string) {
		if m, err := tables.Compile([]string{rule}, needs); err == nil {
			m.Unmapped(needs)
			if out, err := m.Apply(user()); err == nil {
				have := stored(t, out)
				require.Empty(t, m.Changed(out, have))
				require.Empty(t, m.Drift(out, have, false))
				b, err := json.Marshal(out)
				require.NoError(t, err)
				require.Less(t, len(b), 1<<20)
				named, _, err := m.Resolve(have, func(string, string) (bool, error) { return false, nil })
				require.NoError(t, err)
				require.Equal(t, named, m.Known(named))
				m.OfAccount(have)
				m.Nameless(have)
			}
			_, _ = m.Secrets(user())
			m.Try(user())
		}
		if l, err := mapping.CompileLinks([]string{rule}); err == nil {
			_, _ = l.UserKeys(user())
			_, _, _ = l.AccountKeys(0, &host.UserProvAccountStaging{})
		}
		if in, err := tables.CompileInbound([]string{rule}, []string{"costCentre"}); err == nil {
			_, _ = in.Accept(user(), johnsAccount())
		}
	})
}
