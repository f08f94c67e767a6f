package callout

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Observation is what an observer learns of one request of a connector.
type Observation struct {
	// Credential is the named credential of the call, "" where the request went to
	// a host that was granted outside of it.
	Credential string
	// RequestID is the provisioning request that it was for, "" for none.
	RequestID string
	// Connector is its configured name, Method as it wrote it.
	Connector, Method string
	// Status is 0 where there was no answer.
	Status int
	// Refused: the host did not send it, or did not take its answer, which says
	// nothing of the target.
	Refused bool
	// Took is all of it, what was waited for before the first try included.
	Took time.Duration
	// Sent and Received are the bytes of the bodies.
	Sent, Received int64
	// Record has the phases and the retries.
	Record Record
}

// retryAfter reads Retry-After, in seconds or as a date (RFC 9110, 10.2.3); 0
// where there is none, or none that can be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}
