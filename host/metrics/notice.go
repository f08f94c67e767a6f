package metrics

import "github.com/prometheus/client_golang/prometheus"

// notices are the messages to people.
type notices struct{ sends *prometheus.CounterVec }

func newNotices(f *registrar) notices {
	return notices{sends: f.counter("provost_notice_sends_total", "Attempts to send people a message, by kind of channel (webhook or mail) and outcome: ok or the code of the error; what fails is tried again for three days.",
		"kind", "outcome")}
}

// Channel makes the series of a kind of channel that may never move, so that the
// first time is an increase.
func (m *notices) Channel(kind string) {
	for _, outcome := range []string{"ok", "Unavailable"} {
		m.sends.WithLabelValues(clean(kind), outcome)
	}
}

// Sent records an attempt to send a message over a kind of channel: outcome is
// "ok" or a [host.Code].
func (m *notices) Sent(kind, outcome string) {
	m.sends.WithLabelValues(clean(kind), outcomeOf(outcome)).Inc()
}
