package callout

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAConnectorForgesNoTrace(t *testing.T) {
	h, err := cleanHeader(map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "TraceState": "a=b", "BAGGAGE": "user=ann", "X-Own": "kept"}, false)
	require.Nil(t, err)
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		require.Empty(t, h.Values(name))
	}
	require.Equal(t, "kept", h.Get("X-Own"))
}
