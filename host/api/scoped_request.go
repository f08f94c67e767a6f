package api

import (
	"context"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// narrow makes a filter of requests one of those that the subject sees: of its
// apps, or of what is its to decide. none says that there are none.
func (s scoped) narrow(ctx context.Context, f *RequestFilter) (none bool) {
	who, apps := access.SubjectOf(ctx), within(ctx)
	own := who != nil && who.UserId != "" && who.May(access.ApproveRequests)
	switch {
	case apps == nil:
		return false
	case own && (len(apps) == 0 && f.Approver == "" || f.Approver == who.UserId || strings.EqualFold(f.Approver, who.Name)):
		f.Approver = who.UserId
		return false
	case len(apps) == 0, f.App != "" && !slices.Contains(apps, f.App):
		return true
	}
	if f.Apps != nil {
		apps = slices.DeleteFunc(apps, func(app string) bool { return !slices.Contains(f.Apps, app) })
	}
	f.Apps = apps
	return len(apps) == 0
}

func (s scoped) Requests(ctx context.Context, f RequestFilter) (l Listing[*host.UserProvisioningRequest], err error) {
	if f.User != "" && !reads(ctx) {
		if _, err := s.User(ctx, f.User); err != nil {
			return l, err
		}
	}
	if s.narrow(ctx, &f) {
		return l, nil
	}
	l, err = s.Service.Requests(ctx, f)
	for _, r := range l.Rows {
		s.shownRequest(ctx, r)
	}
	return l, err
}

func (s scoped) CountRequests(ctx context.Context, f RequestFilter) (Count, error) {
	if s.narrow(ctx, &f) {
		return Count{}, nil
	}
	return s.Service.CountRequests(ctx, f)
}

// decides tells whether a request is the subject's to decide, or was.
func (s scoped) decides(ctx context.Context, r *host.UserProvisioningRequest) bool {
	who := access.SubjectOf(ctx)
	if who == nil || who.UserId == "" || !who.May(access.ApproveRequests) || r.ApprovalStatus == host.ApprovalNotRequired {
		return false
	}
	if r.ApproverId == who.UserId || r.ApprovedBy != "" && (r.ApprovedBy == who.UserId || strings.EqualFold(r.ApprovedBy, who.Name)) {
		return true
	}
	if r.ApproverGroup == "" {
		return false
	}
	m, err := s.Service.Memberships(ctx, who.UserId)
	return err == nil && slices.Contains(m.Groups, r.ApproverGroup)
}

// shownRequest hides what of a request is not for the subject.
func (s scoped) shownRequest(ctx context.Context, r *host.UserProvisioningRequest) {
	if r != nil && !readsOf(ctx, r.AppName) && !s.decides(ctx, r) {
		maskRequest(r)
	}
}

// request is a request that the route lets the subject do something with.
func (s scoped) request(ctx context.Context, id string) (*host.UserProvisioningRequest, []*host.UserProvisioningLog, error) {
	r, logs, err := s.Service.Request(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if !access.At(ctx, r.AppName) || !sees(ctx, r.AppName) && !s.decides(ctx, r) {
		return nil, nil, host.Errorf(host.NotFound, "there is no request %q", id)
	}
	return r, logs, nil
}

func (s scoped) Request(ctx context.Context, id string) (*host.UserProvisioningRequest, []*host.UserProvisioningLog, error) {
	r, logs, err := s.request(ctx, id)
	if err == nil && !readsOf(ctx, r.AppName) {
		if !s.decides(ctx, r) {
			maskRequest(r)
		}
		for _, l := range logs {
			maskLog(l)
		}
	}
	return r, logs, err
}

// unbounded tells whether the subject may do what the route is for to all, and
// see all of it.
func unbounded(ctx context.Context) bool {
	return access.SubjectOf(ctx) == nil || access.At(ctx, "") && !limited(ctx) && reads(ctx)
}

// acting does something to a request that the subject may do it to.
func (s scoped) acting(ctx context.Context, id string, do func() (*host.UserProvisioningRequest, error)) (*host.UserProvisioningRequest, error) {
	if unbounded(ctx) {
		return do()
	}
	if _, _, err := s.request(ctx, id); err != nil {
		return nil, err
	}
	r, err := do()
	s.shownRequest(ctx, r)
	return r, err
}

func (s scoped) CreateRequest(ctx context.Context, user, app string, op host.Operation) (*host.UserProvisioningRequest, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.CreateRequest(ctx, user, app, op)
}

func (s scoped) Retry(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Retry(ctx, id) })
}

func (s scoped) RunAgain(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.RunAgain(ctx, id) })
}

func (s scoped) Cancel(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Cancel(ctx, id) })
}

func (s scoped) Complete(ctx context.Context, id, note string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Complete(ctx, id, note) })
}

func (s scoped) Commit(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Commit(ctx, id) })
}

func (s scoped) Approve(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Approve(ctx, id, reason) })
}

func (s scoped) Deny(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Deny(ctx, id, reason) })
}

func (s scoped) Delegate(ctx context.Context, id, to, reason string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.Delegate(ctx, id, to, reason) })
}

func (s scoped) AllowRun(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.AllowRun(ctx, id, reason) })
}

func (s scoped) RejectRun(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.RejectRun(ctx, id, reason) })
}

func (s scoped) PauseRun(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.PauseRun(ctx, id) })
}

func (s scoped) ResumeRun(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.acting(ctx, id, func() (*host.UserProvisioningRequest, error) { return s.Service.ResumeRun(ctx, id) })
}

// Bulk is for the requests of one app where the subject may not do it to all,
// or for what is the subject's to decide.
func (s scoped) Bulk(ctx context.Context, verb string, c RequestChoice, progress func(done, skipped int64)) (BulkResult, error) {
	who := access.SubjectOf(ctx)
	if err := mayAsk(ctx, c.User); err != nil {
		return BulkResult{}, err
	}
	for _, id := range c.Ids {
		if unbounded(ctx) {
			break
		}
		if _, _, err := s.request(ctx, id); err != nil {
			return BulkResult{}, err
		}
	}
	if c.All && (limited(ctx) || !access.At(ctx, "")) {
		switch {
		case c.App != "" && access.At(ctx, c.App) && sees(ctx, c.App):
		case who.UserId != "" && slices.Contains([]string{"approve", "deny", "delegate"}, verb):
			c.Approver = who.UserId
		case c.App != "":
			return BulkResult{}, noApp(c.App)
		default:
			return BulkResult{}, &host.Error{Code: host.InvalidInput, Field: "app", Message: "name an app: you may not do this to the requests of all"}
		}
	}
	return s.Service.Bulk(ctx, verb, c, progress)
}

func (s scoped) Logs(ctx context.Context, f LogFilter) (l Listing[*host.UserProvisioningLog], err error) {
	apps := within(ctx)
	if apps != nil {
		if f.Apps = apps; len(apps) == 0 {
			return l, nil
		}
	}
	if err := mayAsk(ctx, f.Actor+f.User); err != nil {
		return l, err
	}
	if f.Request != "" {
		if _, _, err := s.request(ctx, f.Request); err != nil {
			return l, err
		}
	}
	l, err = s.Service.Logs(ctx, f)
	if !reads(ctx) {
		for _, one := range l.Rows {
			maskLog(one)
		}
	}
	return l, err
}

func (s scoped) Staged(ctx context.Context, id string, f StagedFilter) ([]*Staged, error) {
	r, _, err := s.request(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := mayAskOf(ctx, r.AppName, f.Query); err != nil {
		return nil, err
	}
	list, err := s.Service.Staged(ctx, id, f)
	if !readsOf(ctx, r.AppName) {
		for _, one := range list {
			maskStaged(one)
		}
	}
	return list, err
}

func (s scoped) Missing(ctx context.Context, id string, undecided bool, after string, limit int) ([]*host.User, error) {
	if _, _, err := s.request(ctx, id); err != nil {
		return nil, err
	}
	list, err := s.Service.Missing(ctx, id, undecided, after, limit)
	s.shownUsers(ctx, list...)
	return list, err
}

func (s scoped) Gone(ctx context.Context, id string, after int64, limit int) ([]*host.UserProvAccount, error) {
	if _, _, err := s.request(ctx, id); err != nil {
		return nil, err
	}
	list, err := s.Service.Gone(ctx, id, after, limit)
	return shownAccounts(ctx, list), err
}

func (s scoped) Decide(ctx context.Context, id string, d Decision) (*Decided, error) {
	if _, _, err := s.request(ctx, id); err != nil {
		return nil, err
	}
	return s.Service.Decide(ctx, id, d)
}

func (s scoped) UndoDecide(ctx context.Context, id, undo string) (*Decided, error) {
	if _, _, err := s.request(ctx, id); err != nil {
		return nil, err
	}
	return s.Service.UndoDecide(ctx, id, undo)
}
