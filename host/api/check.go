package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// CheckStatus says how what was looked at is.
type CheckStatus string

// Warn: it works, but somebody should look. Fail: it does not.
const (
	CheckOK   CheckStatus = "ok"
	CheckWarn CheckStatus = "warn"
	CheckFail CheckStatus = "fail"
)

// Check is one of what was looked at.
type Check struct {
	// Name is what: database, connector scim, credential Acme.
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	// Reason says how it is, and Next what to do about it.
	Reason string    `json:"reason,omitempty"`
	Next   string    `json:"next,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Readiness says whether a daemon can serve.
type Readiness struct {
	// Status is ready or not ready.
	Status string  `json:"status"`
	Checks []Check `json:"checks"`
}

// ReadinessOf is ready unless a check failed.
func ReadinessOf(checks []Check) Readiness {
	r := Readiness{Status: "ready", Checks: checks}
	for _, c := range checks {
		if c.Status == CheckFail {
			r.Status = "not ready"
		}
	}
	return r
}

// Ready reports whether it can serve.
func (r Readiness) Ready() bool { return r.Status == "ready" }

// Failure counts the requests that failed alike.
type Failure struct {
	App       string         `json:"app"`
	Operation host.Operation `json:"operation"`
	Error     host.Code      `json:"error"`
	Connector string         `json:"connector,omitempty"`
	Target    string         `json:"target,omitempty"`
	Requests  int64          `json:"requests"`
	Since     time.Time      `json:"since"`
	Last      time.Time      `json:"last"`
}

// Wait counts the requests that have not ended and wait for the same.
type Wait struct {
	App string `json:"app"`
	// For is approval, authorization, target, review, resume, later, worker, or
	// nothing: it is being done.
	For      string    `json:"for"`
	Requests int64     `json:"requests"`
	Since    time.Time `json:"since"`
}

// CheckService is what the API needs to tell how a host is.
type CheckService interface {
	// Readiness looks at what can be seen at once.
	Readiness(ctx context.Context) Readiness
	// Doctor looks at everything; it calls targets, and takes its time.
	Doctor(ctx context.Context) ([]Check, error)
	// Failures are those since a time.
	Failures(ctx context.Context, since time.Time) ([]Failure, error)
	Waits(ctx context.Context) ([]Wait, error)
	// SupportBundle writes what helps somebody else to find out what is wrong: a
	// .tar.gz without secrets.
	SupportBundle(ctx context.Context, w io.Writer) error
}

func checks(a huma.API, s CheckService) {
	huma.Post(a, "/api/v1/doctor", func(ctx context.Context, _ *struct{}) (*body[[]Check], error) { return listed(s.Doctor(ctx)) })
	huma.Get(a, "/api/v1/readiness", func(ctx context.Context, _ *struct{}) (*body[Readiness], error) { return answer(s.Readiness(ctx), nil) })
	huma.Get(a, "/api/v1/failures", func(ctx context.Context, in *struct {
		Since time.Time `query:"since" doc:"Ended then or after; without it the last 24 hours"`
	}) (*body[[]Failure], error) {
		since := in.Since
		if since.IsZero() {
			since = time.Now().Add(-24 * time.Hour)
		}
		return listed(s.Failures(ctx, since))
	})
	huma.Get(a, "/api/v1/waits", func(ctx context.Context, _ *struct{}) (*body[[]Wait], error) { return listed(s.Waits(ctx)) })
}

// ReadinessPage answers a probe: 200 or 503, with every check.
func ReadinessPage(s CheckService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := s.Readiness(r.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !now.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(now) // who asked is gone
	}
}

// supportBundle answers with the bundle. Where it fails after it has begun, the
// connection is cut.
func supportBundle(s CheckService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/gzip")
		if err := s.SupportBundle(r.Context(), w); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
