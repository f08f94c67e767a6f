package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/provosthq/provost/host"
)

// DryRunHeader makes any request that would change something only show what
// would follow: everything is done and then undone, and nothing reaches a
// target.
const DryRunHeader = "Provost-Dry-Run"

// DryRun is the answer to a dry run.
type DryRun struct {
	// Changes are what would be asked of the targets; Total counts them where
	// they are too many to be shown.
	Changes []*host.PlannedChange `json:"changes"`
	Total   int                   `json:"total"`
	// Result is what the answer would have been.
	Result json.RawMessage `json:"result,omitempty"`
}

// DryRunService tells what requests would change.
type DryRunService interface {
	WouldChange(ctx context.Context, list []*host.UserProvisioningRequest) ([]*host.PlannedChange, error)
}

// buffered keeps an answer.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header { return b.header }
func (b *buffered) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}
func (b *buffered) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func dryRun(s DryRunService, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(DryRunHeader) == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		run := &host.DryRun{}
		answer := &buffered{header: http.Header{}}
		next.ServeHTTP(answer, r.WithContext(host.WithDryRun(r.Context(), run)))
		body := bytes.TrimSpace(answer.body.Bytes())
		var event ImportEvent
		if answer.header.Get("Content-Type") == "application/jsonl" { // the last line is the result
			body = body[bytes.LastIndexByte(body, '\n')+1:]
			if json.Unmarshal(body, &event) == nil && event.Error != nil {
				answer.status, answer.header = event.Error.Status, http.Header{"Content-Type": {"application/problem+json"}}
				body, _ = json.Marshal(event.Error) // a problem can be written
			} else if event.Result != nil {
				body, _ = json.Marshal(event.Result)
			}
		}
		if answer.status >= 400 {
			for name, values := range answer.header {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.status)
			_, _ = w.Write(body) // who asked is gone
			return
		}
		list, total := run.Requests()
		changes, err := s.WouldChange(r.Context(), list)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			problem(err).write(w)
			return
		}
		if changes == nil {
			changes = []*host.PlannedChange{}
		}
		_ = json.NewEncoder(w).Encode(DryRun{changes, total, body})
	})
}
