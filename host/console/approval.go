package console

import (
	"context"
	"net/http"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// mostInbox bounds the inbox; who decides about more has the list of requests.
const mostInbox = 200

func (c *console) approvals(w http.ResponseWriter, r *http.Request) error {
	list, err := c.inbox(r.Context())
	if err != nil {
		return err
	}
	apps, err := c.labels(r.Context())
	if err != nil {
		return err
	}
	sub := "Nothing is done in an app before somebody has approved it."
	if len(list) > 0 {
		sub = count(len(list), "request waits", "requests wait") + " for a decision; the oldest first."
	}
	return c.show(w, r, Page{Title: "Approvals", Sub: Text(sub), Current: "approvals"}, approvalsPage(list, apps))
}

// inbox are the requests that wait for who looks to decide, the oldest first. Who
// manages all may decide about all.
func (c *console) inbox(ctx context.Context) ([]*api.Request, error) {
	f := api.RequestFilter{Approval: host.ApprovalRequired, Paging: api.Paging{Limit: mostInbox}}
	if s := access.SubjectOf(ctx); s != nil && s.UserId != "" && !s.MayAt(access.ModifyAllData, "") {
		f.Approver = s.UserId
	}
	list, err := c.Service.Requests(ctx, f)
	if err != nil {
		return nil, err
	}
	return c.named(ctx, list.Rows)
}
