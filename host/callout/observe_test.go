package callout

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryAfterIsReadAsSecondsAndAsADate(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"120": 2 * time.Minute, " 7 ": 7 * time.Second, "0": 0, "": 0, "-5": 0, "soon": 0, "99999999999999999999": 0, "1.5": 0,
		"Thu, 26 Nov 2026 12:01:30 GMT":    90 * time.Second,
		"Thursday, 26-Nov-26 12:01:30 GMT": 90 * time.Second,
		"Thu Nov 26 12:01:30 2026":         90 * time.Second,
		"Thu, 26 Nov 2026 11:00:00 GMT":    0,
	} {
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {text}}, now), text)
	}
}

func FuzzRetryAfterIsNeverNegative(f *testing.F) {
	f.Add("120")
	f.Add("Thu, 26 Nov 2026 12:01:30 GMT")
	f.Fuzz(func(t *testing.T, text string) {
		require.GreaterOrEqual(t, retryAfter(http.Header{"Retry-After": {text}}, time.Unix(0, 0)), time.Duration(0))
	})
}
