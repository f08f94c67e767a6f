package term

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTableAlignsByWhatTheTerminalShows(t *testing.T) {
	var b strings.Builder
	require.NoError(t, Table(&b, []string{"NAME", "APP"}, [][]string{{"Zoë", "acme"}, {"山田太郎", "b"}, {"short row"}}))
	require.Equal(t, "NAME       APP\nZoë        acme\n山田太郎   b\nshort row\n", b.String())
}

func TestTableCutsTheWidestColumnsToFit(t *testing.T) {
	var b strings.Builder
	require.NoError(t, table(&b, 24, []string{"A", "B", "C"}, [][]string{{"id", "a very long message indeed", "tail of some length"}}))
	for line := range strings.Lines(b.String()) {
		require.LessOrEqual(t, cells.StringWidth(strings.TrimRight(line, "\n")), 24)
	}
	require.Contains(t, b.String(), "a very l…")

	b.Reset()
	require.NoError(t, table(&b, 5, []string{"A"}, [][]string{{"a very long message"}}), "never narrower than is of use")
	require.Equal(t, "A\na very …\n", b.String())
}

func TestTableLetsNobodySteerTheTerminal(t *testing.T) {
	var b strings.Builder
	require.NoError(t, Table(&b, []string{"NAME"}, [][]string{{"a\x1b[31mb\nc\u202e"}}))
	require.Equal(t, "NAME\na\uFFFD[31mb c\uFFFD\n", b.String())
}

func TestWriteShowsTheSameNamesInJSONAndYAML(t *testing.T) {
	type item struct {
		Name  string         `json:"Name"`
		Count int64          `json:"Count"`
		Text  string         `json:"Text"`
		Some  []string       `json:"Some"`
		Map   map[string]any `json:"Map"`
	}
	data := []item{{Name: "true", Count: 1 << 60, Text: "a <b> & é\nc", Some: []string{}, Map: map[string]any{"on": "1"}}}
	var b strings.Builder
	require.NoError(t, Write(&b, "json", data, nil, nil))
	require.Contains(t, b.String(), `"Text": "a <b> & é\nc"`)
	b.Reset()
	require.NoError(t, Write(&b, "yaml", data, []string{"NAME"}, nil))
	yamlText := "- Name: \"true\"\n  Count: 1152921504606846976\n  Text: |-\n    a <b> & é\n    c\n  Some: []\n  Map:\n    on: \"1\"\n"
	require.Equal(t, yamlText, b.String())
	b.Reset()
	require.NoError(t, Write(&b, "", data, nil, nil), "a table without columns is YAML")
	require.Equal(t, yamlText, b.String())
	require.ErrorContains(t, Write(&b, "xml", data, nil, nil), `no output format "xml"; there are table, json, yaml`)
}

func TestProgressPrintsALineNowAndThen(t *testing.T) {
	now := time.Unix(0, 0)
	var b strings.Builder
	p := newProgress(&b, "collecting", 0, false, func() time.Time { return now })
	p.Set(10, 0)
	require.Empty(t, b.String(), "not before a line is due")
	now = now.Add(10 * time.Second)
	p.Set(41000, 50000)
	p.Set(41001, 50000)
	p.Done("41,001 collected")
	p.Done("again")
	p.Set(1, 1)
	require.Equal(t, "collecting  41,000 of ~50,000   4,100/s   2.1 s left\n41,001 collected\n", b.String())
}

func TestProgressTakesItsBarAwayAtTheEnd(t *testing.T) {
	now := time.Unix(0, 0)
	var b bytes.Buffer
	refresh := make(chan any)
	p := newProgress(&b, "importing", 4, true, func() time.Time { return now }, mpb.WithManualRefresh(refresh))
	p.Set(2, 4)
	refresh <- nil
	p.Set(5, 4) // more than was said
	refresh <- nil
	p.Done("5 people")
	require.Contains(t, b.String(), "importing")
	require.True(t, strings.HasSuffix(b.String(), "5 people\n"), b.String())
}

func TestFiguresForAPerson(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -100: "-100"} {
		require.Equal(t, want, Count(n))
	}
	for d, want := range map[time.Duration]string{
		84 * time.Microsecond: "84 µs", 412 * time.Millisecond: "412 ms", 3800 * time.Millisecond: "3.8 s",
		3 * time.Second: "3 s", 45 * time.Second: "45 s", 125 * time.Second: "2 min 5 s", 190 * time.Minute: "3 h 10 min", -time.Second: "-1 s",
	} {
		require.Equal(t, want, Duration(d))
	}
}
