package callout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
)

func TestAGrantCoversWhatAllowsNoMore(t *testing.T) {
	for wish, c := range map[string]struct {
		grants []string
		want   bool
	}{
		"files.example.com":         {[]string{"a.example.com", "files.example.com"}, true},
		"Files.Example.com":         {[]string{"files.example.com"}, true},
		"a.b.example.com":           {[]string{"*.example.com"}, true},
		"*.b.example.com":           {[]string{"*.example.com"}, true},
		"*.c.example.com":           {[]string{"*.c.example.com"}, true},
		"example.com":               {[]string{"*.example.com"}, false},
		"*.d.example.com":           {[]string{"d.example.com"}, false},
		"GET e.example.com":         {[]string{"GET,HEAD e.example.com"}, true},
		"GET,POST f.example.com":    {[]string{"GET f.example.com"}, false},
		"g.example.com":             {[]string{"GET g.example.com"}, false},
		"http://h.example.com":      {[]string{"h.example.com"}, false},
		"i.example.com:8443":        {[]string{"i.example.com"}, false},
		"https://j.example.com:443": {[]string{"j.example.com"}, true},
		"k.example.com":             {nil, false},
		"*":                         {[]string{"*"}, false},
	} {
		require.Equal(t, c.want, callout.Covers(c.grants, wish), wish)
	}
}
