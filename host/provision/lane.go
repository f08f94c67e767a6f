package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// A lane is the requests of one user in one app, or of one account of nobody.
// They are worked on one after
// the other, in the order in which they were made; what waits for its date lets
// others pass, what waits for a person's approval only those that take away.

// laneOf names the lane of a request within its app.
func laneOf(r *host.UserProvisioningRequest) string {
	if r.UserId == "" {
		return "account:" + r.UserProvAccountId
	}
	return r.UserId
}

// lockLane makes everybody else who wants the lane of a request wait, and
// returns what is open there.
func lockLane(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) ([]*host.UserProvisioningRequest, error) {
	if err := tx.LockLane(ctx, r.AppName, laneOf(r)); err != nil {
		return nil, err
	}
	return openInLane(ctx, tx, r)
}

func openInLane(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) ([]*host.UserProvisioningRequest, error) {
	if r.UserId == "" {
		return tx.OpenAccountRequests(ctx, r.UserProvAccountId)
	}
	return tx.OpenLaneRequests(ctx, r.AppName, r.UserId)
}

// front is the request of a lane whose turn it is; nil for none. open are the
// lane's requests that have not ended, oldest first.
func front(open []*host.UserProvisioningRequest, now time.Time) *host.UserProvisioningRequest {
	for _, r := range open {
		if r.State != host.StateNew || r.InFlight {
			return r // it has begun
		}
	}
	for i, r := range open {
		if r.ApprovalStatus != host.ApprovalRequired && !blocked(r, open[:i]) && (r.ScheduleDate == nil || !now.Before(*r.ScheduleDate)) {
			return r
		}
	}
	return nil
}

// add stores a request and, if it is its turn, its job.
func (e *Engine) add(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) error {
	open, err := lockLane(ctx, tx, r)
	if err != nil {
		return err
	}
	return e.addBehind(ctx, tx, open, r)
}

// addBehind is add in a lane that is locked and whose open requests are known.
func (e *Engine) addBehind(ctx context.Context, tx Tx, open []*host.UserProvisioningRequest, r *host.UserProvisioningRequest) error {
	r.Id, r.State, r.CreatedDate = host.NewID(), host.StateNew, e.Now().UTC()
	if err := e.requireApproval(ctx, tx, nil, nil, r); err != nil {
		return err
	}
	open, err := e.makeWay(ctx, tx, open, r)
	if err != nil {
		return err
	}
	first := front(append(slices.Clone(open), r), e.Now()) == r
	scheduled := r.ScheduleDate != nil && e.Now().Before(*r.ScheduleDate)
	r.Queued = first || scheduled
	if err := tx.InsertRequest(ctx, r); err != nil {
		return err
	}
	details := r.Reason
	switch {
	case scheduled:
		details += "; waits until " + r.ScheduleDate.Format(time.DateTime)
	case !first && r.ApprovalStatus != host.ApprovalRequired:
		ahead := front(open, e.Now())
		if ahead == nil { // those ahead wait for approval
			ahead = open[len(open)-1]
		}
		details += "; waits for " + ahead.Name()
	}
	if err := e.log(ctx, tx, r, "requested", details, nil); err != nil {
		return err
	}
	if err := e.awaits(ctx, tx, r, ""); err != nil {
		return err
	}
	switch {
	case scheduled:
		return tx.Enqueue(ctx, kindOf(r), r.Id, *r.ScheduleDate)
	case first:
		return tx.Enqueue(ctx, kindOf(r), r.Id, time.Time{})
	}
	return nil // the end of the one before gives it its job
}

// next gives a job to the request whose turn it now is in the lane of r, unless
// it has one. The lane must be locked.
func (e *Engine) next(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) error {
	open, err := openInLane(ctx, tx, r)
	if err != nil {
		return err
	}
	first := front(open, e.Now())
	if first == nil || first.Queued || first.WaitsFor != "" {
		return nil
	}
	return e.enqueue(ctx, tx, first, time.Time{})
}

// enqueue gives a request that has no job one, due at a time (zero: now).
func (e *Engine) enqueue(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, at time.Time) error {
	if first, err := tx.MarkQueued(ctx, r.Id); err != nil || !first {
		return err
	}
	r.Queued, r.WaitsFor = true, ""
	return tx.Enqueue(ctx, kindOf(r), r.Id, at)
}

// kindOf is the kind of a request's jobs: those that a person waits for have a
// queue of their own.
func kindOf(r *host.UserProvisioningRequest) string {
	switch {
	case r.Operation == host.Reconcile:
		return "reconcile" // of the other engine: only its targets are ours
	case r.Urgent:
		return UrgentJobKind
	default:
		return JobKind
	}
}

// waiting tells whether a request was made by an event and has not begun, so
// that a later event may change it or make it needless.
func waiting(r *host.UserProvisioningRequest) bool {
	return r.State == host.StateNew && r.Attempt == 0 && !r.InFlight && !r.Urgent && r.PlanId == "" && r.ParentId == ""
}

// inverse are the operations that undo each other.
var inverse = map[host.Operation][]host.Operation{
	host.Activate:   {host.Deactivate},
	host.Reactivate: {host.Deactivate},
	host.Deactivate: {host.Activate, host.Reactivate},
	host.Freeze:     {host.Unfreeze},
	host.Unfreeze:   {host.Freeze},
}

// coalesce tries to do without the request r of an event, because what waits in
// its lane can take it in, or is undone by it. It returns what is open
// afterwards. leaves says that the event takes the user out of the app, exists
// that the user has an account, or may have one.
func (e *Engine) coalesce(ctx context.Context, tx Tx, open []*host.UserProvisioningRequest, r *host.UserProvisioningRequest, leaves, exists bool) (absorbed bool, _ []*host.UserProvisioningRequest, err error) {
	// Only the end of the lane may change: what is before it comes first.
	begin := len(open)
	for begin > 0 && waiting(open[begin-1]) {
		begin--
	}
	tail := open[begin:]
	// Deletes that wait for their date are not in the way.
	last := len(tail) - 1
	for last >= 0 && tail[last].ScheduleDate != nil {
		last--
	}
	if leaves {
		// What would make the account is needless. So is a Create that nobody has
		// approved, whoever made it.
		from := len(open)
		for from > 0 && (waiting(open[from-1]) || open[from-1].State == host.StateNew && open[from-1].ApprovalStatus == host.ApprovalRequired) {
			from--
		}
		if i := slices.IndexFunc(open[from:], func(w *host.UserProvisioningRequest) bool {
			return w.Operation == host.Create || !exists && makes(w.Operation)
		}); i >= 0 {
			why := fmt.Sprintf("needless before it ran: %s", r.Reason)
			for _, w := range slices.Backward(open[from+i:]) {
				if err := e.end(ctx, tx, w, w.Attempt, host.StateCancelled, "coalesced", why, nil); err != nil {
					return false, nil, err
				}
			}
			return !exists && !project(nil, open[:from+i]).exists, open[:from+i], nil
		}
	}
	if last < 0 {
		return false, open, nil
	}
	w := tail[last]
	switch {
	case r.Operation == host.Update && (w.Operation == host.Create || w.Operation == host.Update) && takesIn(w, r):
		w.Attributes = r.Attributes
		details := "now with: " + r.Reason
		if w.Operation == host.Update {
			for _, path := range r.ChangedAttributes {
				if !slices.Contains(w.ChangedAttributes, path) {
					w.ChangedAttributes = append(w.ChangedAttributes, path)
				}
			}
			slices.Sort(w.ChangedAttributes)
			w.Reason = r.Reason
			if name, _, ok := strings.Cut(r.Reason, " changed: "); ok {
				w.Reason = name + " changed: " + strings.Join(w.ChangedAttributes, ", ")
			}
		}
		if err := tx.UpdateRequest(ctx, w, w.Attempt); err != nil {
			return false, nil, err
		}
		return true, open, e.log(ctx, tx, w, "coalesced", details, nil)
	case slices.Contains(inverse[r.Operation], w.Operation):
		why := fmt.Sprintf("undone before it ran: %s", r.Reason)
		if err := e.end(ctx, tx, w, w.Attempt, host.StateCancelled, "coalesced", why, nil); err != nil {
			return false, nil, err
		}
		return true, slices.Delete(slices.Clone(open), begin+last, begin+last+1), nil
	}
	return false, open, nil
}

// withdrawDeletes cancels the deletes of a lane that wait for their date: the
// user has the app again.
func (e *Engine) withdrawDeletes(ctx context.Context, tx Tx, open []*host.UserProvisioningRequest, why string) ([]*host.UserProvisioningRequest, error) {
	var rest []*host.UserProvisioningRequest
	for _, w := range open {
		if w.Operation != host.Delete || !waiting(w) {
			rest = append(rest, w)
			continue
		}
		if err := e.end(ctx, tx, w, w.Attempt, host.StateCancelled, "coalesced", "no longer wanted: "+why, nil); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// projection is what will be in the target once a lane's open requests have
// run.
type projection struct{ exists, active, frozen bool }

// makes tells whether an operation makes the account where there is none.
func makes(op host.Operation) bool {
	return op == host.Create || op == host.Update || op == host.Activate || op == host.Reactivate
}

func project(account *host.UserProvAccount, open []*host.UserProvisioningRequest) projection {
	var p projection
	if account != nil {
		p = projection{true, account.Active, account.Frozen}
	}
	for _, r := range open {
		if r.Preview {
			continue
		}
		if !p.exists && makes(r.Operation) {
			p.exists, p.active = true, true
		}
		switch r.Operation {
		case host.Create, host.Activate, host.Reactivate:
			p.active = true
		case host.Deactivate:
			p.active = false
		case host.Freeze:
			p.frozen = true
		case host.Unfreeze:
			p.frozen = false
		case host.Delete:
			if r.ScheduleDate == nil {
				p = projection{}
			}
		}
	}
	return p
}
