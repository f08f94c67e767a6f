package callout_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
)

func TestABodyIsShownWithoutItsSecrets(t *testing.T) {
	for body, shown := range map[string]string{
		``: ``,
		`{"userName":"ada","password":"hunter2"}`: `{"password":"•••","userName":"ada"}`,
		`{"Operations":[{"op":"replace","path":"password","value":"hunter2"},{"op":"replace","path":"title","value":"x"}]}`: `{"Operations":[{"op":"replace","path":"password","value":"•••"},{"op":"replace","path":"title","value":"x"}]}`,
		`{"access_token":"t","api-key":{"a":"hunter2"},"shipping":"ok","note":"the one is s3cr3t, keep it"}`:                `{"access_token":"•••","api-key":"•••","note":"the one is •••, keep it","shipping":"ok"}`,
		`{"id":12345678901234567890}`: `{"id":12345678901234567890}`,
		`user=ada&password=hunter2`:   `(25 bytes that are no JSON)`,
		`<html>`:                      `(6 bytes that are no JSON)`,
	} {
		require.Equal(t, shown, callout.Redact([]byte(body), nil, "s3cr3t", ""), body)
	}
	long := callout.Redact([]byte(`"`+strings.Repeat("ä", 10_000)+`"`), nil)
	require.Less(t, len(long), 5_000)
	require.True(t, utf8.ValidString(long))
}

func TestAURLIsShownWithoutWhatARuleMasks(t *testing.T) {
	rules := []string{"phone*", "birthDate"}
	for raw, shown := range map[string]string{
		"callout:Acme/Users?count=100&startIndex=1":                 "callout:Acme/Users?count=100&startIndex=1",
		"callout:Acme/Users?filter=userName%20eq%20%22ada%22":       "callout:Acme/Users?filter=userName%20eq%20%22ada%22",
		"callout:Acme/Users?filter=phoneNumbers.value+eq+%22123%22": "callout:Acme/Users?filter=•••",
		"callout:Acme/Users?birthDate=1815-12-10&access_token=x":    "callout:Acme/Users?birthDate=•••&access_token=•••",
		"callout:Acme/set?to=s3%2Fcr3t&note=a%zz":                   "callout:Acme/set?to=•••&note=•••",
		"callout:Acme/set/s3%2Fcr3t":                                "callout:Acme/set/•••",
	} {
		require.Equal(t, shown, callout.RedactURL(raw, rules, "s3/cr3t"), raw)
	}
	header := callout.RedactHeader(map[string]string{"location": "https://x.example/a?token=abc&page=2", "X-Phone": "1", "phone": "2", "Set-Cookie2": "x"}, rules)
	require.Equal(t, map[string]string{"location": "https://x.example/a?token=•••&page=2", "X-Phone": "1", "phone": "•••", "Set-Cookie2": "x"}, header)
}

func FuzzNoSecretIsShown(f *testing.F) {
	f.Add(`{"a":["hunter2-canary"],"password":"x"}`)
	f.Add(`{"value":"hunter2-canary","path":"password"}`)
	f.Add(`{"hunter2-canary":1,"a hunter2-canary b":[]}`)
	f.Fuzz(func(t *testing.T, body string) {
		require.NotContains(t, strings.ReplaceAll(callout.Redact([]byte(body), nil, "hunter2-canary"), `\`, ""), `hunter2-canary`)
	})
}
