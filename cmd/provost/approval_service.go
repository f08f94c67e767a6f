package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// approvalRule says who must approve a request by its app's own rule.
func (d *daemon) approvalRule(app string, u *host.User, r *host.UserProvisioningRequest) (host.Approver, error) {
	rules, err := d.rulesOf(app)
	if err != nil {
		return host.Approver{}, err
	}
	if rules.approval == nil {
		return host.Approver{}, host.Errorf(host.InvalidInput, "apps.%s.approval_rule is missing", app)
	}
	return rules.approval.Of(u, r)
}

// approvalGroup returns the members of a configured group.
func (d *daemon) approvalGroup(name string) []string {
	for _, g := range d.current.Load().config.Groups {
		if g.Name == name {
			return g.Members
		}
	}
	return nil
}

// expireApprovals denies what nobody has approved in time.
func (d *daemon) expireApprovals(ctx context.Context) error {
	n, err := d.provision.Expire(ctx)
	if n > 0 {
		d.log.InfoContext(ctx, "requests that nobody has approved in time are denied", "requests", n)
	}
	return err
}

// forApprover narrows a filter to what a user may decide about.
func (s service) forApprover(ctx context.Context, t *store.Tx, name string, q *store.RequestFilter) error {
	if name == "" {
		return nil
	}
	u, err := findUser(ctx, t, name)
	if err != nil {
		return err
	}
	q.ApproverId = u.Id
	for _, g := range s.current.Load().config.Groups {
		if slices.ContainsFunc(g.Members, func(m string) bool { return m == u.Id || strings.EqualFold(m, u.Username) }) {
			q.ApproverGroups = append(q.ApproverGroups, g.Name)
		}
	}
	return nil
}

func (s service) People(ctx context.Context, ids []string) (people map[string]api.Person, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		users, err := t.UsersNamed(ctx, ids)
		people = make(map[string]api.Person, len(users))
		for _, u := range users {
			people[u.Id] = api.Person{Id: u.Id, Username: u.Username, DisplayName: u.DisplayName()}
		}
		return err
	})
	return people, err
}

func (s service) Usernames(ctx context.Context, ids []string) (names map[string]string, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		names, err = t.Usernames(ctx, ids)
		return err
	})
	return names, err
}

func (s service) Approve(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestApprove, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.provision.Approve(ctx, t, id, reason)
	})
}

func (s service) Deny(ctx context.Context, id, reason string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestDeny, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.provision.Deny(ctx, t, id, reason)
	})
}

func (s service) Delegate(ctx context.Context, id, to, reason string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestDelegate, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.provision.Delegate(ctx, t, id, to, reason)
	})
}

const (
	// bulkBatch is how many requests are acted on in one transaction.
	bulkBatch = 50
	// bulkErrors is of how many that were skipped it is said why.
	bulkErrors = 100
)

// bulk is one thing that is done with many requests.
type bulk struct {
	service
	verb     string
	choice   api.RequestChoice
	result   api.BulkResult
	progress func(done, skipped int64)
}

// Bulk works through the requests that there are now, oldest first; those that
// it makes itself are not among them.
func (s service) Bulk(ctx context.Context, verb string, c api.RequestChoice, progress func(done, skipped int64)) (api.BulkResult, error) {
	b := &bulk{service: s, verb: verb, choice: c, progress: progress}
	if c.All == (len(c.Ids) > 0) {
		return b.result, host.Errorf(host.InvalidInput, "name requests, or say that all of a filter are meant (all), but not both")
	}
	if !c.All {
		return b.result, b.named(ctx)
	}
	f, err := b.filter(ctx)
	for err == nil {
		var refs []store.RequestRef
		if err = s.store.View(ctx, func(t *store.Tx) error {
			refs, err = t.RequestRefs(ctx, f)
			return err
		}); err != nil || len(refs) == 0 {
			break
		}
		ids := make([]string, len(refs))
		for i, r := range refs {
			ids[i], f.After = r.Id, r.Number
		}
		err = b.batch(ctx, ids)
	}
	return b.result, err
}

// named acts on the requests that are named.
func (b *bulk) named(ctx context.Context) error {
	for _, name := range b.choice.Ids {
		var id string
		err := b.store.View(ctx, func(t *store.Tx) error {
			r, err := findRequest(ctx, t, name)
			if err == nil {
				id = r.Id
			}
			return err
		})
		if err != nil {
			if ctx.Err() != nil || host.CodeOf(err) != host.NotFound {
				return err
			}
			b.skip(name, err)
			continue
		}
		if err := b.one(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// filter chooses the requests that the verb is for, up to the newest of now.
func (b *bulk) filter(ctx context.Context) (f store.RequestFilter, err error) {
	c := b.choice
	f = store.RequestFilter{AppName: c.App, Operation: c.Operation, ErrorCode: c.Error, Limit: bulkBatch}
	if c.Since != nil {
		f.Since = *c.Since
	}
	switch b.verb {
	case "retry":
		f.States = []host.RequestState{host.StateFailed}
	case "cancel":
		f.States = []host.RequestState{host.StateNew}
	default:
		f.Approval = host.ApprovalRequired
	}
	return f, b.store.View(ctx, func(t *store.Tx) error {
		if c.App != "" {
			if _, err := t.Config(ctx, c.App); err != nil {
				return err
			}
		}
		if c.User != "" {
			u, err := findUser(ctx, t, c.User)
			if err != nil {
				return err
			}
			f.UserId = u.Id
		}
		if err := b.forApprover(ctx, t, c.Approver, &f); err != nil {
			return err
		}
		f.Until, err = t.LastRequestNumber(ctx)
		return err
	})
}

// batch acts on some requests in one transaction, or, where one of them is
// refused, on each in one of its own: nothing of a refused one must stay.
func (b *bulk) batch(ctx context.Context, ids []string) error {
	err := txStore{b.daemon}.update(ctx, func(t tx) error {
		for _, id := range ids {
			if err := b.do(ctx, t, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		b.result.Done += int64(len(ids))
		b.progress(b.result.Done, b.result.Skipped)
		return nil
	}
	for _, id := range ids {
		if err := b.one(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (b *bulk) one(ctx context.Context, id string) error {
	err := txStore{b.daemon}.update(ctx, func(t tx) error { return b.do(ctx, t, id) })
	if host.CodeOf(err) == host.PermissionDenied {
		b.auditRefused(ctx, host.AuditAction("request."+b.verb), host.AuditObject{Kind: "request", Name: b.nameOf(ctx, id)}, err, nil)
	}
	var known *host.Error
	switch {
	case err == nil:
		b.result.Done++
	case ctx.Err() != nil:
		return &host.Error{Code: host.Cancelled, Message: fmt.Sprintf("interrupted; %d were done", b.result.Done), Err: ctx.Err()}
	case !errors.As(err, &known), known.Code == host.Unavailable:
		return host.Errorf(host.CodeOf(err), "after %d were done: %w", b.result.Done, err)
	default:
		b.skip(id, err)
	}
	b.progress(b.result.Done, b.result.Skipped)
	return nil
}

func (b *bulk) skip(name string, err error) {
	b.result.Skipped++
	if len(b.result.Errors) < bulkErrors {
		text := err.Error()
		if !strings.Contains(text, "UPR-") {
			text = name + ": " + text
		}
		b.result.Errors = append(b.result.Errors, text)
	}
}

func (b *bulk) do(ctx context.Context, t tx, id string) (err error) {
	var r *host.UserProvisioningRequest
	switch b.verb {
	case "retry":
		if b.choice.All {
			if r, err := t.Request(ctx, id); err != nil {
				return err
			} else if r.ApprovalStatus == host.ApprovalDenied {
				return host.Errorf(host.Conflict, "%s was denied by %s   -> provost request retry %s, to ask again", r.Name(), r.ApprovedBy, r.Name())
			}
		}
		r, err = b.provision.Retry(ctx, t, id)
	case "cancel":
		r, err = b.provision.Cancel(ctx, t, id)
	case "approve":
		r, err = b.provision.Approve(ctx, t, id, b.choice.Reason)
	case "deny":
		r, err = b.provision.Deny(ctx, t, id, b.choice.Reason)
	case "delegate":
		r, err = b.provision.Delegate(ctx, t, id, b.choice.To, b.choice.Reason)
	default:
		err = host.Errorf(host.InvalidInput, "there is no %q for many requests", b.verb)
	}
	if err != nil {
		return err
	}
	return b.auditRequest(ctx, t.Tx, host.AuditAction("request."+b.verb), r, nil)
}
