package console

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALongTextIsBrokenAfterItsSigns(t *testing.T) {
	for text, want := range map[string]string{
		"ada@example.com":      "ada@<wbr>example.<wbr>com",
		"urn:ietf:User:title":  "urn:<wbr>ietf:<wbr>User:<wbr>title",
		"emails[work].value":   "emails[work].<wbr>value",
		"<b>&\"@x":             "&lt;b&gt;&amp;&#34;@<wbr>x",
		"ends.":                "ends.",
		"Acme_SCIM":            "Acme_<wbr>SCIM",
		"ends_":                "ends_",
		"<img src=x onerror=1": "&lt;img src=<wbr>x onerror=<wbr>1",
	} {
		var b strings.Builder
		require.NoError(t, Wrapped(text).Render(t.Context(), &b))
		require.Equal(t, want, b.String(), text)
	}
}

func TestWhatALogSaysIsReadable(t *testing.T) {
	for text, want := range map[string]string{
		"3 calls within 10m0s broke a limit":       "3 calls within 10 min broke a limit",
		"the next in 900ms":                        "the next in 900 ms",
		"sqlite answers in 0s":                     "sqlite answers in under 1 ms",
		"the next in 1.5s":                         "the next in 1.5 s",
		"0 of 4 (0 %); the least is 50%":           "0 of 4 (0 %); the least is 50 %",
		"room 12h-3, 10s.example.com, 7 things":    "room 12h-3, 10s.example.com, 7 things",
		"(at most 1h)   -> provost plugin list":    "(at most 1 h)",
		"callout:Acme/Users?count=1&filter=a5%20b": "callout:Acme/Users?count=1&filter=a5%20b",
	} {
		require.Equal(t, want, withoutCommand(text), text)
	}
}

func TestMomentsInATextAreTold(t *testing.T) {
	at := time.Date(2026, 12, 3, 18, 43, 48, 0, time.UTC)
	require.Equal(t, []textAndMoment{{"until ", at}, {Text: ", or so"}}, momentsIn("until 2026-12-03T18:43:48Z, or so"))
	require.Equal(t, []textAndMoment{{Text: "2026-99-03T18:43:48Z"}}, momentsIn("2026-99-03T18:43:48Z"))
	require.Equal(t, []textAndMoment{{}}, momentsIn(""))
}
