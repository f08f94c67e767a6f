package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// callouts are the HTTP requests that are made for connectors, and the tokens
// that they are signed in with.
type callouts struct {
	callouts     *prometheus.CounterVec
	calloutTime  *prometheus.HistogramVec
	phases       *prometheus.HistogramVec
	retries      *prometheus.CounterVec
	calloutBytes *prometheus.CounterVec
	refreshes    *prometheus.CounterVec
}

func newCallouts(f *registrar) callouts {
	return callouts{
		callouts: f.counter("provost_callouts_total", "HTTP requests made for connectors, by status class (0 for no answer, refused where the host did not send it or did not take its answer); credential is empty for granted hosts; each counts once, however often it was tried.",
			"credential", "method", "class"),
		calloutTime:  f.histogram("provost_callout_duration_seconds", "Time of HTTP requests made for connectors, sign-in and retries included.", long, "credential"),
		phases:       f.histogram("provost_callout_phase_duration_seconds", "Time of each phase of the last try of an HTTP request: sign_in, resolve, connect, tls, wait (until the answer began), read. What there was not does not count.", short, "credential", "phase"),
		retries:      f.counter("provost_callout_retries_total", "Times that a read was sent again because the target gave no answer of its own.", "credential"),
		calloutBytes: f.counter("provost_callout_bytes_total", "Bytes of bodies of HTTP requests made for connectors, by direction: sent or received.", "credential", "direction"),
		refreshes:    f.counter("provost_token_refreshes_total", "Fetches of tokens and sessions, by outcome: ok, refused, invalid_grant, uncertain, failed, not_stored or cut_off.", "credential", "outcome"),
	}
}

// Callout is one HTTP request made for a connector.
type Callout struct {
	Credential, Method string
	// Status is 0 where there was no answer. Refused: the host did not send it, or
	// did not take its answer.
	Status  int
	Refused bool
	// RequestID is the request that it was for, "" for none.
	RequestID string
	Took      time.Duration
	// The phases of the last try; 0 is one that there was not.
	SignIn, Resolve, Connect, TLS, Wait, Read time.Duration
	// Retries counts the tries after the first.
	Retries        int
	Sent, Received int64
}

// Callout records one HTTP request made for a connector. A method outside the
// common ones counts as "other".
func (m *callouts) Callout(c Callout) {
	class := "0"
	if c.Status >= 100 && c.Status < 600 {
		class = strconv.Itoa(c.Status/100) + "xx"
	}
	if c.Refused {
		class = "refused"
	}
	method := c.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
	default:
		method = other
	}
	count(m.callouts.WithLabelValues(c.Credential, method, class), 1, c.RequestID)
	observe(m.calloutTime.WithLabelValues(c.Credential), c.Took.Seconds(), c.RequestID)
	for _, phase := range []struct {
		name string
		took time.Duration
	}{{"sign_in", c.SignIn}, {"resolve", c.Resolve}, {"connect", c.Connect}, {"tls", c.TLS}, {"wait", c.Wait}, {"read", c.Read}} {
		if phase.took > 0 {
			observe(m.phases.WithLabelValues(c.Credential, phase.name), phase.took.Seconds(), c.RequestID)
		}
	}
	if c.Retries > 0 {
		count(m.retries.WithLabelValues(c.Credential), float64(c.Retries), c.RequestID)
	}
	m.calloutBytes.WithLabelValues(c.Credential, "sent").Add(float64(c.Sent))
	m.calloutBytes.WithLabelValues(c.Credential, "received").Add(float64(c.Received))
}

// TokenRefresh records that tokens or a session were fetched for a named
// credential; outcome is "ok" or one of the host's own words for how it failed.
func (m *callouts) TokenRefresh(credential, outcome string) {
	m.refreshes.WithLabelValues(credential, clean(outcome)).Inc()
}
