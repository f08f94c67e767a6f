package connector

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
)

func TestALineOfAConnectorIsOneLineThatNothingObeys(t *testing.T) {
	for in, out := range map[string]string{
		"as it is: grüße 日本 {\"a\":1}":          "as it is: grüße 日本 {\"a\":1}",
		"one\ntwo\r\nthree\ttab":                "one two  three tab",
		"\x1b[31mred\x1b[0m and \x1b[2Jgone":    "red and gone",
		"\x1b]0;title\x07shown":                 "shown",
		"\x1b]8;;http://evil\x1b\\link":         "link",
		"\x1b]never ends":                       "",
		"\u009b31mC1":                           "C1",
		"\x00nul\x7fdel\u0085nel":               "nuldelnel",
		"bad \xff\xfe utf":                      "bad \uFFFD utf",
		"\u202egnp.exe\u202c \u2066x\u2069":     "gnp.exe x",
		"a\u2028level=ERROR b":                  "a level=ERROR b",
		"  \n  ":                                "",
		"\x1b\x1b[31mtwice":                     "twice",
		strings.Repeat("é", 5000):               strings.Repeat("é", 1000) + "…",
		"a\u200eb\ufeffc":                       "abc",
		"\x1bPq#0\x1b\\sixel, \x1b(Bcharset, c": "sixel, charset, c",
	} {
		require.Equal(t, out, cleanLine(in), "%q", in)
	}
}

func FuzzCleanLine(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\n\x1b]0;x\x07")
	f.Add("\x1b\x1b\x1b[[3\u009b1m\xff")
	f.Fuzz(func(t *testing.T, line string) {
		got := cleanLine(line)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, len(got), maxLine+len("…"))
		require.Equal(t, -1, strings.IndexFunc(got, unicode.IsControl), "%q", got)
	})
}

type logged struct {
	Level, Msg, Source, Connector string
	Dropped                       int
}

func read(t *testing.T, b *bytes.Buffer) (list []logged) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var one logged
		require.NoError(t, json.Unmarshal([]byte(line), &one))
		list = append(list, one)
	}
	b.Reset()
	return list
}

func TestAConnectorThatLogsTooMuchIsCutShortAndTheCountIsSaidOnce(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1e9, 0)
	c := New(Options{Logger: slog.New(slog.NewJSONHandler(&out, nil)), Now: func() time.Time { return now }})
	c.LimitLines(10)
	log := c.options.Logger.With("connector", "acme")
	flood := func(n int) {
		for range n {
			c.linesOf("acme").log(log, now, slog.LevelInfo, "again")
			c.linesOf("acme").log(log, now, slog.LevelDebug, "a level that nobody wants costs nothing")
		}
	}
	flood(1000)
	got := read(t, &out)
	require.Len(t, got, 20, "two seconds' worth")
	require.Equal(t, logged{Level: "INFO", Msg: "again", Source: "plugin", Connector: "acme"}, got[0])
	c.linesOf("acme").told(log, now, time.Second)
	require.Empty(t, read(t, &out), "not while it goes on")

	now = now.Add(500 * time.Millisecond)
	flood(20)
	got = read(t, &out)
	require.Len(t, got, 1+5)
	require.Equal(t, 980, got[0].Dropped)
	require.Equal(t, "WARN", got[0].Level)
	require.Empty(t, got[0].Source, "it is the host's own line")

	now = now.Add(2 * time.Second) // the end of a call says the rest
	c.linesOf("acme").told(log, now, time.Second)
	got = read(t, &out)
	require.Len(t, got, 1)
	require.Equal(t, 15, got[0].Dropped)
	c.linesOf("acme").told(log, now, time.Second)
	require.Empty(t, read(t, &out))

	// Another connector has its own, and a limit that is changed counts at once.
	c.linesOf("globex").log(log, now, slog.LevelInfo, "hello")
	require.Len(t, read(t, &out), 1)
	c.LimitLines(1000)
	now = now.Add(time.Second)
	flood(500)
	require.Len(t, read(t, &out), 500)
	flood(5000)
	read(t, &out)
	require.NoError(t, c.Close(t.Context()))
	require.Len(t, read(t, &out), 1, "what was not said is said at the end")
}

func TestASecretThatIsPartedByWhatIsTakenOutIsMasked(t *testing.T) {
	var out bytes.Buffer
	c := New(Options{Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	r := &recorder{connector: &Connector{catalogue: c}, in: pdk.Input{}, mask: masker(map[string]string{"password": "s3cret-canary"}), log: c.options.Logger, lines: c.linesOf("acme")}
	r.line(slog.LevelInfo, "s3cret-canary s3cret\x00-canary s3\x1b[0mcret-canary")
	require.NotContains(t, out.String(), "canary")
	require.Contains(t, out.String(), "***")
	require.NotContains(t, strings.Join(r.trace.Logs, ""), "canary")
}
