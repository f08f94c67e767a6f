package mapping_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
)

// Each of these ran for minutes, or for ever.
func TestAnExpressionThatWouldTakeForEverIsRefused(t *testing.T) {
	u := user()
	u.Custom["big"], u.Custom["many"] = strings.Repeat("a,", 30_000), make([]any, 3000)
	for expression, message := range map[string]string{
		`all(split(user.big, ","), # != "x")`:                            "goes through a list of 30001 elements; 10000 is the most",
		`all(split(user.big, ","), all(split(user.big, ","), # != "x"))`: "elements; 300 is the most",
		`count(user.many, all(user.many, # == nil))`:                     "a list of 3000 elements; 300 is the most",
		`all(1..41, all(1..2, all(1..2, true)))`:                         "a list of 41 elements; 40 is the most",
		`reduce(user.many, #acc + count(user.many, # == nil), 0)`:        "300 is the most",
		`user.big matches user.big`:                                      "regular expression of more than 1000 bytes",
		`"x" matches ("(" + user.Username)`:                              "error parsing regexp",
	} {
		m, err := mapping.Compile([]string{"x = " + expression}, nil)
		require.NoError(t, err, expression)
		_, err = m.Apply(u)
		require.ErrorContains(t, err, message, expression)
		require.Equal(t, host.InvalidInput, host.CodeOf(err), expression)
	}
	for expression, message := range map[string]string{
		`all(1..2, all(1..2, all(1..2, all(1..2, true))))`:                    "predicates inside one another, 4 deep; 3 is the most",
		`user.Title matches "` + strings.Repeat("a", 1001) + `"`:              "regular expression of more than 1000 bytes",
		strings.Repeat("all(1..2, ", 100) + "true" + strings.Repeat(")", 100): "100 deep; 3 is the most",
	} {
		_, err := mapping.Compile([]string{"x = " + expression}, nil)
		require.ErrorContains(t, err, message, expression)
		_, err = mapping.CompileScope(expression)
		require.ErrorContains(t, err, message, "a scope too: %s", expression)
	}
}

func TestWhatGoesThroughAListWorksAsBefore(t *testing.T) {
	u := user()
	u.PermissionSets, u.Custom["pattern"] = []string{"Reader", "Admin"}, "^R"
	for expression, want := range map[string]any{
		`any(user.PermissionSets, # == "Admin")`:                     true,
		`filter(user.PermissionSets, # startsWith "A")`:              []any{"Admin"},
		`map(user.PermissionSets, lower(#))`:                         []any{"reader", "admin"},
		`user.PermissionSets | filter(# != "Admin") | map(upper(#))`: []any{"READER"},
		`join(sortBy(user.PermissionSets, #), "+")`:                  "Admin+Reader",
		`reduce(user.PermissionSets, #acc + len(#), 0)`:              11.0,
		`find(user.PermissionSets, # matches user.pattern)`:          "Reader",
		`user.nothing matches user.pattern`:                          false,
		`count(1..3, any(1..#, # == 2))`:                             2.0,
		`len(groupBy(user.PermissionSets, first(#))["R"])`:           1.0,
	} {
		m, err := mapping.Compile([]string{"x = " + expression}, nil)
		require.NoError(t, err, expression)
		got, err := m.Apply(u)
		require.NoError(t, err, expression)
		require.Equal(t, want, got["x"], expression)
	}
}
