package console

import (
	"context"
	"net/http"
	"net/url"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

func (c *console) approvals(w http.ResponseWriter, r *http.Request) error {
	cursor := r.URL.Query().Get("cursor")
	in, err := c.inbox(r.Context(), api.Paging{Cursor: cursor, Limit: pageRows})
	if err != nil {
		return err
	}
	apps, err := c.labels(r.Context())
	if err != nil {
		return err
	}
	sub := "Nothing is done in an app before somebody has approved it."
	if n := in.Waiting; n.N > 0 {
		sub = count(n.N, "request waits", "requests wait") + " for a decision; the oldest first."
		if n.More {
			sub = "More than " + sub
		}
	}
	page := approvalList{Requests: in.Requests}
	if cursor != "" {
		page.First = Path + "/approvals"
	}
	if in.Next != "" {
		page.Next = pathWith(Path+"/approvals", url.Values{"cursor": {in.Next}})
	}
	return c.show(w, r, Page{Title: "Approvals", Sub: Text(sub), Current: "approvals"}, approvalsPage(page, apps))
}

// approvalList is a page of the requests that wait; First and Next are the
// addresses of others.
type approvalList struct {
	Requests    []*api.Request
	First, Next string
}

// inbox are requests that wait for who looks to decide.
type inbox struct {
	Requests []*api.Request
	Next     string // cursor of the next page
	Waiting  api.Count
}

// inbox is a page of the requests that wait for who looks to decide, the oldest
// first. Who manages all may decide about all.
func (c *console) inbox(ctx context.Context, p api.Paging) (in inbox, err error) {
	f := api.RequestFilter{Approval: host.ApprovalRequired, Paging: p}
	if s := access.SubjectOf(ctx); s != nil && s.UserId != "" && !s.MayAt(access.ModifyAllData, "") {
		f.Approver = s.UserId
	}
	list, err := c.Service.Requests(ctx, f)
	if err != nil {
		return in, err
	}
	in.Next = list.Next
	if in.Requests, err = c.named(ctx, list.Rows); err != nil {
		return in, err
	}
	in.Waiting, err = c.Service.CountRequests(ctx, f)
	return in, err
}
