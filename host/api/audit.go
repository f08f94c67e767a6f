package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// AuditService is what the API needs of the audit trail.
type AuditService interface {
	// AuditEntries lists the newest first.
	AuditEntries(ctx context.Context, f AuditFilter) ([]*AuditEntry, error)
	// AuditLines lists exported lines, the oldest first; last is the number of the
	// last of them, the After of the next page.
	AuditLines(ctx context.Context, f AuditFilter) (lines [][]byte, last int64, err error)
	// VerifyAudit walks the whole trail. expect is a place that must be in it, or "".
	VerifyAudit(ctx context.Context, expect string) (host.AuditVerification, error)
	// Declared notes what a command has changed in the files of the configuration.
	Declared(ctx context.Context, d Declaration) error
}

// AuditFilter chooses entries; empty fields choose all.
type AuditFilter struct {
	// Actor is a user's id or username, or a whole actor that is none.
	Actor string
	// Action is a whole one, or the noun before the dot.
	Action string
	// Kind and Name are those of the object; a user may be given by username.
	Kind, Name string
	Outcome    host.AuditOutcome
	// Request is an id, a name (UPR-000042) or a number.
	Request      string
	Since, Until time.Time
	// Before and After are numbers that are left out; 0 for none.
	Before, After int64
	Limit         int
}

// AuditEntry is an entry as the API shows it: with the name that the actor has
// now, where it is a user.
type AuditEntry struct {
	*host.AuditEntry
	ActorName string `json:"actorName,omitempty"`
}

// Declaration says what a command has changed in the files of the
// configuration.
type Declaration struct {
	Action host.AuditAction `json:"action" enum:"app.apply,app.delete,credential.apply,credential.delete,credential.rotate,credential.reseal"`
	Name   string           `json:"name" maxLength:"512"`
	// Before and After are the SHA-256 of the file.
	Before string `json:"before,omitempty" maxLength:"64"`
	After  string `json:"after,omitempty" maxLength:"64"`
	// Keys are those of the configuration that have another value now.
	Keys []string `json:"keys,omitempty" maxItems:"1000"`
	// Secrets counts those that were sealed anew.
	Secrets int `json:"secrets,omitempty"`
}

// mostDeclaredKeys are told; of more only how many there are.
const mostDeclaredKeys = 1000

// Bound leaves out keys where there are too many.
func (d *Declaration) Bound() {
	if len(d.Keys) > mostDeclaredKeys {
		d.Keys = append(d.Keys[:mostDeclaredKeys-1], fmt.Sprintf("and %d more", len(d.Keys)-mostDeclaredKeys+1))
	}
}

func audit(a huma.API, s AuditService) {
	huma.Get(a, "/api/v1/audit", func(ctx context.Context, in *struct {
		Page
		Actor   string    `query:"actor" doc:"Id or username of a user, or another actor as it is shown"`
		Action  string    `query:"action" doc:"Such as request.approve, or request for all that begin so"`
		Kind    string    `query:"kind" doc:"Of the object: app, credential, request, account, user, plan, config, …"`
		Name    string    `query:"name" doc:"Of the object"`
		Outcome string    `query:"outcome" enum:"done,refused,failed"`
		Request string    `query:"request" doc:"Id, name (UPR-000042) or number of a provisioning request"`
		Since   time.Time `query:"since"`
		Until   time.Time `query:"until"`
		Before  int64     `query:"before" minimum:"0" doc:"Number of the last entry of the page before: the newest come first"`
	}) (*page[[]*AuditEntry], error) {
		list, err := s.AuditEntries(ctx, AuditFilter{Actor: in.Actor, Action: in.Action, Kind: in.Kind, Name: in.Name, Outcome: host.AuditOutcome(in.Outcome),
			Request: in.Request, Since: in.Since, Until: in.Until, Before: in.Before, Limit: in.Limit})
		return following(&in.Page, list, err, "before", func(e *AuditEntry) any { return e.Number })
	})
	huma.Get(a, "/api/v1/audit/verify", func(ctx context.Context, in *struct {
		Expect string `query:"expect" doc:"NUMBER:HASH or HASH of an entry that must be there"`
	}) (*body[host.AuditVerification], error) {
		return answer(s.VerifyAudit(ctx, in.Expect))
	})
	huma.Post(a, "/api/v1/audit/declarations", func(ctx context.Context, in *struct{ Body Declaration }) (*struct{}, error) {
		if err := s.Declared(ctx, in.Body); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
}

// exportAtOnce is how many entries are read in one transaction: a reader may be
// slow, and holds nobody up.
const exportAtOnce = 500

// exportAudit answers with the trail as JSON Lines, the oldest first. Where it
// fails after it has begun, the connection is cut, so that half of it can't be
// taken for the whole.
func exportAudit(s AuditService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		f := AuditFilter{Action: q.Get("action"), Limit: exportAtOnce}
		refuse := func(err error) {
			problem(err).write(w)
		}
		if text := q.Get("after"); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				refuse(host.Errorf(host.InvalidInput, "after: %.40q is no number of an entry", text))
				return
			}
			f.After = n
		}
		rc := http.NewResponseController(w)
		for begun := false; ; begun = true {
			lines, last, err := s.AuditLines(r.Context(), f)
			if err != nil && !begun {
				refuse(err)
				return
			} else if err != nil {
				panic(http.ErrAbortHandler)
			}
			if !begun {
				w.Header().Set("Content-Type", "application/jsonl")
			}
			for _, line := range lines {
				if _, err := w.Write(append(line, '\n')); err != nil {
					return // who asked is gone
				}
			}
			_ = rc.Flush() // not every writer knows it
			if len(lines) < exportAtOnce {
				return
			}
			f.After = last
		}
	}
}
