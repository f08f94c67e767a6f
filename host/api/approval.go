package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// ApprovalService is what the API needs to decide about requests, and to do one
// thing with many of them.
type ApprovalService interface {
	Approve(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error)
	Deny(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error)
	Delegate(ctx context.Context, id, to, reason string) (*host.UserProvisioningRequest, error)
	// Bulk does one of [BulkVerbs] with many requests, in batches. progress is
	// told how many are done and skipped.
	Bulk(ctx context.Context, verb string, c RequestChoice, progress func(done, skipped int64)) (BulkResult, error)
	// People returns what users are called, by their ids; who is not there is left
	// out.
	People(ctx context.Context, ids []string) (map[string]Person, error)
	// Usernames returns usernames by users' ids; who is not there is left out.
	Usernames(ctx context.Context, ids []string) (map[string]string, error)
}

// Person is what a user is called.
type Person struct{ Id, Username, DisplayName string }

// BulkVerbs are what can be done with many requests at once.
var BulkVerbs = []string{"retry", "cancel", "approve", "deny", "delegate"}

// RequestChoice chooses requests to act on: those that are named, or with All
// those of the filter that the action is for (retry: failed; cancel: not begun;
// the others: waiting for approval).
type RequestChoice struct {
	Ids       []string       `json:"ids,omitempty" doc:"Ids, names (UPR-000042) or numbers"`
	All       bool           `json:"all,omitempty" doc:"All that the other members choose"`
	App       string         `json:"app,omitempty"`
	User      string         `json:"user,omitempty" doc:"Id or username"`
	Operation host.Operation `json:"operation,omitempty" enum:"Create,Read,Update,Deactivate,Activate,Freeze,Unfreeze,Reactivate,Delete,Reconcile"`
	Approver  string         `json:"approver,omitempty" doc:"Only what is for this user, or for one of the user's groups, to approve"`
	Error     host.Code      `json:"error,omitempty" enum:"NotFound,AlreadyExists,InvalidInput,Unauthorized,PermissionDenied,RateLimited,Unavailable,Conflict,Unsupported,Internal,LimitExceeded,ConnectorFault,Changed,Usage,Cancelled" doc:"Only with this error code"`
	Since     *time.Time     `json:"since,omitempty" doc:"Only what ended, or else was made, since"`
	Reason    string         `json:"reason,omitempty" doc:"For the log, and for whoever is denied"`
	To        string         `json:"to,omitempty" doc:"With delegate: who is to approve"`
}

// BulkResult counts what was done. Errors say of the first requests that were
// skipped why.
type BulkResult struct {
	Done    int64    `json:"done"`
	Skipped int64    `json:"skipped"`
	Errors  []string `json:"errors,omitempty"`
}

// BulkEvent is one line of the answer of what takes long, which is JSON Lines:
// progress while it works, then a result or a problem.
type BulkEvent[T any] struct {
	Done    int64    `json:"done,omitempty"`
	Skipped int64    `json:"skipped,omitempty"`
	Result  *T       `json:"result,omitempty"`
	Error   *Problem `json:"error,omitempty"`
}

// stream answers with the events of something that takes long. What is wrong
// before it has begun is answered as everywhere.
func stream[T any](work func(ctx context.Context, progress func(done, skipped int64)) (T, error)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		out, begun := c.BodyWriter(), false
		enc := json.NewEncoder(out)
		send := func(e BulkEvent[T]) {
			if !begun {
				begun = true
				c.SetHeader("Content-Type", "application/jsonl")
			}
			if enc.Encode(e) != nil { // who does not read it has gone
				return
			}
			if f, ok := out.(http.Flusher); ok {
				f.Flush()
			}
		}
		result, err := work(c.Context(), func(done, skipped int64) { send(BulkEvent[T]{Done: done, Skipped: skipped}) })
		switch {
		case err == nil:
			send(BulkEvent[T]{Result: &result})
		case begun:
			send(BulkEvent[T]{Error: problem(err)})
		default:
			p := problem(err)
			c.SetHeader("Content-Type", p.ContentType(""))
			c.SetStatus(p.Status)
			_ = enc.Encode(p) // who asked may be gone
		}
	}}
}

func approvals(a huma.API, s Service) {
	type approval struct {
		ID   string `path:"id" doc:"Id, name (UPR-000042) or number"`
		Body struct {
			Reason string `json:"reason,omitempty" maxLength:"4096"`
			To     string `json:"to,omitempty" doc:"With delegate: who is to approve"`
		}
	}
	act := func(verb string, do func(ctx context.Context, in *approval) (*host.UserProvisioningRequest, error)) {
		huma.Post(a, "/api/v1/requests/{id}/"+verb, func(ctx context.Context, in *approval) (*body[*Request], error) {
			r, err := do(ctx, in)
			shown := named(r)
			if err == nil {
				err = NamePeople(ctx, s, shown)
			}
			return answer(shown, err)
		})
	}
	act("approve", func(ctx context.Context, in *approval) (*host.UserProvisioningRequest, error) {
		return s.Approve(ctx, in.ID, in.Body.Reason)
	})
	act("deny", func(ctx context.Context, in *approval) (*host.UserProvisioningRequest, error) {
		return s.Deny(ctx, in.ID, in.Body.Reason)
	})
	act("delegate", func(ctx context.Context, in *approval) (*host.UserProvisioningRequest, error) {
		return s.Delegate(ctx, in.ID, in.Body.To, in.Body.Reason)
	})
	for _, verb := range BulkVerbs {
		huma.Post(a, "/api/v1/requests/"+verb, func(_ context.Context, in *struct{ Body RequestChoice }) (*huma.StreamResponse, error) {
			return stream(func(ctx context.Context, progress func(done, skipped int64)) (BulkResult, error) {
				return s.Bulk(ctx, verb, in.Body, progress)
			}), nil
		})
	}
}
