package mapping_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

// compareBy holds an account against a user by one rule: whether they share a
// key, and how alike they are.
func compareBy(t require.TestingT, rule string, a *host.UserProvAccountStaging, u *host.User) (shared bool, score float64) {
	l, err := mapping.CompileLinks([]string{rule})
	require.NoError(t, err)
	users, err := l.UserKeys(u)
	require.NoError(t, err)
	keys, value, err := l.AccountKeys(0, a)
	require.NoError(t, err)
	for _, k := range users {
		for _, key := range keys {
			if key == k.Key {
				return true, l.Score(0, value, k.Value)
			}
		}
	}
	return false, 0
}

func TestLinkRulesCompareWhatTheySay(t *testing.T) {
	u := &host.User{User: pdk.User{Username: "jobrien", FirstName: "Jürgen", LastName: "O’Brien", Email: "JO@example.com", EmployeeNumber: "1234567"}}
	a := &host.UserProvAccountStaging{ExternalUsername: "JOBRIEN", ExternalFirstName: "juergen", ExternalLastName: "O Brien", ExternalEmail: "jo@example.com",
		Attributes: map[string]any{"number": 1234567.0}}
	for rule, match := range map[string]bool{
		`account.ExternalUsername = user.Username`:                       false,
		`lower(account.ExternalUsername) = user.Username`:                true,
		`normalize(account.ExternalLastName) = normalize(user.LastName)`: true,
		`[normalize(account.ExternalFirstName), normalize(account.ExternalLastName)] = [normalize(user.FirstName), normalize(user.LastName)]`:           true,
		`[account.ExternalFirstName, account.ExternalLastName] = [user.FirstName, user.LastName]`:                                                       false,
		`normalize(account.ExternalFirstName) + "|" + normalize(account.ExternalLastName) = normalize(user.FirstName) + "|" + normalize(user.LastName)`: true,
		`account.attributes.number = user.EmployeeNumber`:                                                                                               true,
		`account.Status = user.Title`:                                        false,
		`account.Status + "|" = user.Title + "|"`:                            false,
		`[account.ExternalEmail, account.Status] = [user.Email, user.Title]`: false,
		`user.Username = lower(account.ExternalUsername)`:                    true,
		`lower(account.ExternalEmail) + "` + strings.Repeat("x", 1000) + `" = lower(user.Email) + "` + strings.Repeat("x", 1000) + `"`: true,
		`lower(account.ExternalEmail) + "` + strings.Repeat("x", 1000) + `" = lower(user.Email) + "` + strings.Repeat("x", 999) + `y"`: false,
	} {
		shared, _ := compareBy(t, rule, a, u)
		require.Equal(t, match, shared, rule)
	}
}

func TestLikenessHasAScore(t *testing.T) {
	for _, c := range []struct {
		account, user string
		least, most   float64
	}{
		{"Ada Lovelace", "lovelace.ada", 1, 1},
		{"ada@old.example", "ada@new.example", 0, 0}, // three letters say too little
		{"grace.hopper@old.example", "ghopper@new.example", 0, 0.95},
		{"katharine.johnson", "catherine.johnson", 0.88, 0.95},
		{"Dorothy Vaughan", "Dorothy Vaughn", 0.95, 0.999},
		{"ada.lovelace@example.com", "grace.hopper@example.com", 0, 0},
		{"Müller", "Mueller", 1, 1},
		{"Ольга Иванова", "Иванова Ольга", 1, 1},
	} {
		_, score := compareBy(t, "account.ExternalUsername ~ user.Username", &host.UserProvAccountStaging{ExternalUsername: c.account}, &host.User{User: pdk.User{Username: c.user}})
		require.GreaterOrEqual(t, score, c.least, "%s and %s", c.account, c.user)
		require.LessOrEqual(t, score, c.most, "%s and %s", c.account, c.user)
	}
	_, score := compareBy(t, "account.ExternalUsername ~ user.Username >= 0.99", &host.UserProvAccountStaging{ExternalUsername: "Dorothy Vaughan"}, &host.User{User: pdk.User{Username: "Dorothy Vaughn"}})
	require.Zero(t, score)
}

func TestALinkRuleThatCanNotBeMeantIsRefused(t *testing.T) {
	for rule, message := range map[string]string{
		`account.ExternalUsername`:                            "is not of the form",
		`account.ExternalUsername ~ user.Username >= 1.5`:     "is not above 0 and at most 1",
		`account.ExternalUsername ~ user.Username >= 0`:       "is not above 0 and at most 1",
		`account.ExternalUsername ~ user.Usernam`:             "did you mean user.Username?",
		`normalise(account.ExternalUsername) = user.Username`: `did you mean "normalize"?`,
	} {
		_, err := mapping.CompileLinks([]string{rule})
		require.ErrorContains(t, err, message, rule)
	}
	l, err := mapping.CompileLinks([]string{`account.ExternalUsername + "~" = user.Username + "~"`, `account.ExternalEmail ~ user.Email`})
	require.NoError(t, err)
	require.False(t, l.Fuzzy(0))
	require.True(t, l.Fuzzy(1))
}

func TestAValueIsLikeItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		l, err := mapping.CompileLinks([]string{"account.ExternalUsername ~ user.Username"})
		require.NoError(t, err)
		keys, value, err := l.AccountKeys(0, &host.UserProvAccountStaging{ExternalUsername: name})
		require.NoError(t, err)
		if len(keys) > 0 {
			require.InDelta(t, 1, l.Score(0, value, value), 1e-9)
		}
	})
}
