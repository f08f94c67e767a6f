package mapping_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

var tables = mapping.Tables{"costCenters": {"R&D": "CC-7", "42": "by number"}, "levels": {"x": 3.0}}

// value is what an expression makes of the user; nil for nothing.
func value(t testing.TB, expression string) (any, error) {
	m, err := tables.Compile([]string{"x = " + expression}, nil)
	require.NoError(t, err)
	out, err := m.Apply(user())
	return out["x"], err
}

func TestWhatAFunctionMakes(t *testing.T) {
	for expression, want := range map[string]any{
		`"employee"`:                                               "employee",
		`lower(user.Username)`:                                     "jo'brien",
		`upper(user.Department)`:                                   "R&D",
		`trim("  a ")`:                                             "a",
		`replace(user.Username, "'", "")`:                          "JOBrien",
		`replace("a-b-c", "-", "", 1)`:                             "ab-c",
		`split("a,b", ",")`:                                        []any{"a", "b"},
		`split(user.Email, "@")[0]`:                                "J.OBrien",
		`join(["a", "", nil, user.Title, "b"], "-")`:               "a-b",
		`join([1, 2])`:                                             "12",
		`first(user.FirstName)`:                                    "J",
		`first(user.FirstName, 2)`:                                 "Jü",
		`first(user.FirstName, 99)`:                                "Jürgen",
		`last(user.FirstName, 2)`:                                  "en",
		`last(split(user.Email, "@"))`:                             "Example.com",
		`first([]) ?? "none"`:                                      "none",
		`substring(user.FirstName, 1, 3)`:                          "ür",
		`substring(user.FirstName, 4)`:                             "en",
		`ascii(user.FirstName)`:                                    "Juergen",
		`user.Title ?? user.Department ?? "x"`:                     "R&D",
		`user.Title ?? user.badge ?? "x"`:                          "x",
		`user.nothing?.deeper ?? "x"`:                              "x",
		`user.FirstName + user.nothing`:                            "Jürgen",
		`user.costCentre + 1`:                                      43.0,
		`"CC" + string(user.costCentre)`:                           "CC42",
		`string(1234567)`:                                          "1234567",
		`lookup("costCenters", user.Department)`:                   "CC-7",
		`lookup("costCenters", user.costCentre)`:                   "by number",
		`lookup("costCenters", "none", "CC-0")`:                    "CC-0",
		`lookup("costCenters", "none") ?? "later"`:                 "later",
		`lookup("costCenters", user.nothing)`:                      nil,
		`formatDate("2026-01-05", "dd.MM.yyyy")`:                   "05.01.2026",
		`formatDate("2026-01-05T08:30:00Z", "yyyy-MM-dd'T'HH:mm")`: "2026-01-05T08:30",
		`formatDate("20260105", "d MMM yy")`:                       "5 Jan 26",
		`formatDate("2026-01-05T08:30:00+02:00", "HH:mm:ss XXX")`:  "08:30:00 +02:00",
		`formatDate("2026-01-05", "d 'o''clock' 'x''' ''yy")`:      "5 o'clock x' '26",
		`formatDate(user.Title, "yyyy")`:                           nil,
		`formatDate(user.nothing, "yyyy")`:                         nil,
		`user.FirstName[0:2]`:                                      "J", // half a letter is none
		`len(user.FirstName)`:                                      6.0,
		`["a", {"b": 1}]`:                                          []any{"a", map[string]any{"b": 1.0}},
	} {
		got, err := value(t, expression)
		require.NoError(t, err, expression)
		require.Equal(t, want, got, expression)
	}
}

func TestWhatIsWrongInAFunctionIsToldBeforeItRuns(t *testing.T) {
	for expression, want := range map[string]string{
		`lookup("costCentres", user.Department)`:  `did you mean "costCenters"?`,
		`lookup("zzz", 1)`:                        "there is costCenters, levels",
		`lookup(user.Department, 1)`:              "the name of a table",
		`formatDate(user.Title, "QQ")`:            `"QQ"`,
		`formatDate(user.Title, "yyyy 'at")`:      "one ' without another",
		`formatDate(user.Title, "2006")`:          "can't stand in it",
		`formatDate(user.Title, "'Jan' yyyy")`:    "can't stand in it",
		`lowr(user.Title)`:                        `did you mean "lower"?`,
		`unique(user.FirstName) + "@example.com"`: "must be all that the rule makes",
		`randomPassword(3)`:                       "8 to 128",
		`lower(randomPassword())`:                 "must be all that the rule makes",
		`now().Year()`:                            "another value each time",
	} {
		_, err := tables.Compile([]string{"x = " + expression}, nil)
		require.ErrorContains(t, err, want, expression)
	}
}

func TestWhatCantBeMadeIsAnErrorThatSaysWhy(t *testing.T) {
	for expression, want := range map[string]string{
		`formatDate(user.Username, "yyyy")`: `"JO'Brien" is no date`,
		`user.FirstName + user.costCentre`:  "write string(",
		`user.costCentre / 0`:               "divided by nothing",
		`first(user.costCentre)`:            "a list or a text",
		`unique(user.Title)`:                "nothing to begin with",
	} {
		_, err := value(t, expression)
		require.ErrorContains(t, err, want, expression)
		require.Equal(t, host.InvalidInput, host.CodeOf(err))
	}
}

// However a rule is written, and whatever a user is called, it ends with little
// text and in little memory.
func TestWhatAnExpressionMakesHasAnEnd(t *testing.T) {
	for _, expression := range []string{
		`reduce(1..60, #acc + #acc, "xx")`,
		`reduce(1..60, concat(#acc, #acc), [1])`,
		`reduce(1..20, replace(#acc, "x", "xxxxxxxxxx"), "x")`,
		`reduce(1..20, join([#acc, #acc, #acc], #acc), "x")`,
		`repeat(user.Username, 100000)`,
		`repeat(repeat("x", 60000), 60000)`,
		`map(1..5000, repeat("x", 60000))`,
		`1..1000000`,
		`map(1..50000, #)`,
	} {
		_, err := value(t, expression)
		require.Error(t, err, expression)
		require.Less(t, len(err.Error()), 1000)
	}
	_, err := tables.Compile([]string{"x = " + strings.Repeat("1 + ", 2000) + "1"}, nil)
	require.Error(t, err)
}

func TestModifiersStandBehindTheExpression(t *testing.T) {
	m, err := mapping.Compile([]string{
		"userName = lower(user.Username) [on create]", "title = user.Title [empty leaves]", "nickName = user.Title [always, empty removes]", "dep = [user.Department]",
		"letter = user.Username [0:1]", "list = user.nothing ?? [user.Department]",
	}, nil)
	require.NoError(t, err)
	want, err := m.Apply(user())
	require.NoError(t, err)
	require.Equal(t, map[string]any{"userName": "jo'brien", "dep": []any{"R&D"}, "letter": "J", "list": []any{"R&D"}}, want)
	have := map[string]any{"userName": "other", "title": "Boss", "nickName": "B", "dep": []any{"R&D"}, "letter": "J", "list": []any{"R&D"}}
	require.Equal(t, []string{"nickName"}, m.Changed(have, want), "a name is for a new account, and no title leaves the one that is there")
	require.Equal(t, []host.Difference{{Path: "nickName", Want: nil, Have: "B"}}, m.Drift(want, have, false))
	require.Equal(t, map[string]any{"dep": []any{"R&D"}, "letter": "J", "list": []any{"R&D"}}, m.OfAccount(want))
	require.Contains(t, want, "userName", "the user's attributes are as they were")
}

func TestAWrongModifierIsTold(t *testing.T) {
	for text, want := range map[string]string{
		"on creat": "did you mean [on create]?", "empty remove": "did you mean [empty removes]?", "on create, whenever": "there is [on create]",
		"on create, always": "contradicts itself", "empty leaves, empty removes": "contradicts itself",
	} {
		_, err := mapping.Compile([]string{"x = user.Title [" + text + "]"}, nil)
		require.ErrorContains(t, err, want, text)
	}
}

func TestWhatIsForNewAccountsIsNotSentForOthers(t *testing.T) {
	m, err := mapping.Compile([]string{
		"userName = user.Username [on create]", "name.givenName = user.FirstName [on create]", "name.familyName = user.LastName", "emails[work].value = user.Email [on create]",
		"emails[home].value = user.Email", "urn:x:2.0:User:dep = user.Department [on create]", "urn:x:2.0:User:dep2 = user.Department", "urn:x:2.0:User:m.id = user.Id [on create]",
		"phones[work] = user.Id [on create]",
	}, nil)
	require.NoError(t, err)
	all, err := m.Apply(user())
	require.NoError(t, err)
	left := m.OfAccount(all)
	for path, want := range map[string]bool{"userName": false, "name.givenName": false, "name.familyName": true, "emails[work].value": false, "emails[home].value": true,
		"urn:x:2.0:User:dep": false, "urn:x:2.0:User:dep2": true, "urn:x:2.0:User:m.id": false, "phones[work].value": false} {
		_, there := pdk.GetPath(left, path)
		require.Equal(t, want, there, path)
		_, there = pdk.GetPath(all, path)
		require.True(t, there, path)
	}
}

func TestAPasswordHasEveryClassAndIsNoAttribute(t *testing.T) {
	m, err := mapping.Compile([]string{"userName = user.Username", "password = randomPassword(16)", "pin = user.Title ?? randomPassword()"}, nil)
	require.ErrorContains(t, err, "must be all that the rule makes")
	require.Len(t, m.Paths(), 2)
	out, err := m.Apply(user())
	require.NoError(t, err)
	require.Equal(t, map[string]any{"userName": "JO'Brien"}, out)
	require.Empty(t, m.Changed(map[string]any{"password": "a"}, map[string]any{"userName": "JO'Brien"})[1:])
	seen := map[string]bool{}
	for range 200 {
		secrets, err := m.Secrets(user())
		require.NoError(t, err)
		require.Len(t, secrets, 1)
		p := secrets["password"]
		require.Len(t, p, 16)
		require.False(t, seen[p])
		seen[p] = true
		for _, class := range []string{"abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "!#$%*+-.:=?@_"} {
			require.True(t, strings.ContainsAny(p, class), "%s has none of %s", p, class)
		}
	}
}

// stored is what the database, or a target's answer, makes of attributes.
func stored(t require.TestingT, attributes map[string]any) map[string]any {
	b, err := json.Marshal(attributes)
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, json.Unmarshal(b, &back))
	return back
}

// What was mapped, sent and read again is what the mapping wants, whatever the
// expression makes.
func TestWhatWasSentAndReadAgainHasNoDrift(t *testing.T) {
	m, err := tables.Compile([]string{
		"a = lower(user.Username)", "b = split(user.Username, \"a\")", "c = len(user.LastName)", "d = {\"k\": [user.Email, 1, len(user.Email)]}", "e = user.FirstName[0:1]",
		"f = join(split(user.Email, \"b\"), \"-\")", "g = user.Title ?? user.FirstName ?? user.LastName", "h = lookup(\"costCenters\", user.Department)", "i = ascii(user.LastName)",
		"j = replace(user.Username, \"x\", user.FirstName)", "k = first(user.LastName, 2) + last(user.LastName)", "l = user.number * 3", "m.n[work].value = user.Email",
		"o = user.number", "p = string(user.number)", "q = user.Username [on create]", "r = user.Title [empty leaves]",
	}, nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "R&D", "a", "\xff", "Ångström", "x"}))
		u := &host.User{User: pdk.User{Username: text.Draw(t, "username"), FirstName: text.Draw(t, "first"), LastName: text.Draw(t, "last"), Email: text.Draw(t, "email"),
			Department: text.Draw(t, "department"), Title: text.Draw(t, "title"), Custom: map[string]any{"number": rapid.Float64Range(-1e15, 1e15).Draw(t, "number")}}}
		want, err := m.Apply(u)
		require.NoError(t, err)
		have := stored(t, want)
		require.Empty(t, m.Drift(want, have, false))
		require.Empty(t, m.Changed(want, have))
		require.Empty(t, m.Changed(want, want))
		for _, v := range want {
			if s, ok := v.(string); ok {
				require.True(t, utf8.ValidString(s))
			}
		}
	})
}

// resolve chooses names that are not among taken.
func resolve(t require.TestingT, m *mapping.Mapping, attributes map[string]any, taken map[string]bool) (map[string]any, error) {
	out, _, err := m.Resolve(attributes, func(path, name string) (bool, error) { return taken[path+" "+name], nil })
	return out, err
}

func TestANameThatMustBeUniqueIsChosenWhenTheTargetCanBeAsked(t *testing.T) {
	m, err := mapping.Compile([]string{
		`userName = unique(lower(first(user.FirstName) + ascii(user.LastName)))`, `emails[work].value = user.Title == "" ? unique(user.Username, "@example.com") : user.Title + "@x"`,
		"title = user.Department", `urn:x:User:alias = unique("a")`,
	}, nil)
	require.NoError(t, err)
	marked, err := m.Apply(user())
	require.NoError(t, err)
	marked = stored(t, marked)
	require.Equal(t, map[string]any{"title": "R&D", "emails": []any{map[string]any{"type": "work"}}, "urn:x:User": map[string]any{}}, m.Known(marked))
	require.Equal(t, map[string]any{"title": "R&D"}, m.OfAccount(map[string]any{"title": "R&D", "userName": "x"}))
	require.Empty(t, m.Drift(marked, map[string]any{"userName": "other", "title": "R&D"}, false))
	require.Equal(t, []host.Difference{{Path: "userName", Want: "jo'brien"}, {Path: "emails[work].value", Want: "JO'Brien@example.com"}, {Path: "title", Want: "R&D"}, {Path: "urn:x:User:alias", Want: "a"}}, m.Initial(marked))

	got, err := resolve(t, m, marked, map[string]bool{"userName jo'brien": true, "userName jo'brien2": true, "emails[work].value JO'Brien@example.com": true})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"title": "R&D", "userName": "jo'brien3", "emails": []any{map[string]any{"type": "work", "value": "JO'Brien2@example.com"}}, "urn:x:User": map[string]any{"alias": "a"}}, got)
	require.Equal(t, got, m.Known(got))
	name, _ := pdk.GetPath(m.Nameless(got), "userName")
	require.Nil(t, name)
	again, ok, err := m.Unresolve(got, user())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, marked, again)

	_, _, err = m.Resolve(marked, func(string, string) (bool, error) { return true, nil })
	require.Equal(t, host.AlreadyExists, host.CodeOf(err), "it ends")
	_, _, err = m.Resolve(marked, func(string, string) (bool, error) { return false, host.Errorf(host.Unavailable, "down") })
	require.Equal(t, host.Unavailable, host.CodeOf(err))
}

func TestANameThatWasChosenIsNeverATakenOne(t *testing.T) {
	m, err := mapping.Compile([]string{`userName = unique(user.Username)`}, nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		taken := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "people") {
			name := rapid.SampledFrom([]string{"a", "a2", "a1", "b", "12"}).Draw(t, "name")
			marked, err := m.Apply(&host.User{User: pdk.User{Username: name}})
			require.NoError(t, err)
			got, err := resolve(t, m, stored(t, marked), taken)
			require.NoError(t, err)
			require.Contains(t, got["userName"], name)
			key := "userName " + got["userName"].(string)
			require.False(t, taken[key])
			taken[key] = true
		}
	})
}
