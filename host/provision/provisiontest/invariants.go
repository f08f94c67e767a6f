// Package provisiontest says what must be true of the records of provisioning
// at every moment between two transactions, whatever happened before: the
// invariants, in one place. The tests of the engine check them after each step,
// those of the daemon after each storm.
package provisiontest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/provosthq/provost/host"
)

// Records are what one transaction reads of the store.
type Records struct {
	Requests []*host.UserProvisioningRequest
	// Logs are by request, oldest first.
	Logs     map[string][]*host.UserProvisioningLog
	Accounts []*host.UserProvAccount
	// Jobs counts the jobs of a request that have not ended.
	Jobs map[string]int
	Now  time.Time
}

// Violations names every invariant that does not hold; none is good.
func (r Records) Violations() []string {
	var list []string
	note := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	r.accounts(note)
	r.lanes(note)
	for _, q := range r.Requests {
		ended(note, q)
		approved(note, q)
		told(note, q, r.Logs[q.Id])
	}
	return list
}

type noter func(format string, args ...any)

// accounts: a person has one linked account in an app, and an account of the
// target is there once.
func (r Records) accounts(note noter) {
	persons, ids := map[[2]string]string{}, map[[2]string]string{}
	for _, a := range r.Accounts {
		if a.ExternalUserId != "" {
			at := [2]string{a.AppName, a.ExternalUserId}
			if other := ids[at]; other != "" {
				note("the account %s of %s is there twice: %s and %s", a.ExternalUserId, a.AppName, other, a.Name())
			}
			ids[at] = a.Name()
		}
		if a.LinkState != host.Linked || a.DeletedDate != nil {
			continue
		}
		if a.UserId == "" {
			note("%s is linked to nobody", a.Name())
			continue
		}
		of := [2]string{a.AppName, a.UserId}
		if other := persons[of]; other != "" {
			note("the user %s has two accounts in %s: %s and %s", a.UserId, a.AppName, other, a.Name())
		}
		persons[of] = a.Name()
	}
}

// lanes: no request is without an end or somebody who goes on with it, and of
// the requests of one account one is worked on at a time.
func (r Records) lanes(note noter) {
	lanes := map[[2]string][]*host.UserProvisioningRequest{}
	known := map[string]bool{}
	for _, q := range r.Requests {
		known[q.Id] = true
		if q.Operation == host.Reconcile {
			continue
		}
		if !q.State.Ended() {
			at := [2]string{q.AppName, q.UserId}
			lanes[at] = append(lanes[at], q)
		}
	}
	for id := range r.Jobs {
		if !known[id] {
			note("a job is for the request %s, which is not there", id)
		}
	}
	for at, open := range lanes {
		slices.SortFunc(open, func(a, b *host.UserProvisioningRequest) int { return cmp.Compare(a.Number, b.Number) })
		begun, goesOn := 0, false
		for _, q := range open {
			alive := r.Jobs[q.Id] > 0 || q.WaitsFor != ""
			person := q.ApprovalStatus == host.ApprovalRequired
			goesOn = goesOn || alive || person
			if q.State != host.StateNew || q.InFlight {
				if begun++; begun > 1 {
					note("%s is worked on while another request of its account is", q.Name())
				}
				if !alive {
					note("%s is %s, and nothing goes on with it", q.Name(), q.State)
				}
			}
			if q.Queued && r.Jobs[q.Id] == 0 {
				note("%s says that it has a job and has none", q.Name())
			}
		}
		if !goesOn {
			note("nothing goes on with the %d requests of %s in %s, the first of which is %s", len(open), at[1], at[0], open[0].Name())
		}
	}
}

// ended: what has ended says when, and holds nothing of an attempt.
func ended(note noter, q *host.UserProvisioningRequest) {
	switch {
	case q.State.Ended() && q.CompletedDate == nil:
		note("%s is %s without a date", q.Name(), q.State)
	case q.State.Ended() && (q.InFlight || q.WaitsFor != "" || q.PendingToken != ""):
		note("%s is %s and still under way", q.Name(), q.State)
	case !q.State.Ended() && q.CompletedDate != nil:
		note("%s is %s and has an end", q.Name(), q.State)
	case q.State == host.StateFailed && q.ErrorCode == "":
		note("%s failed and says not why", q.Name())
	}
}

// approved: no attempt is made at what nobody has approved.
func approved(note noter, q *host.UserProvisioningRequest) {
	if q.Attempt > 0 && q.ApprovalStatus != host.ApprovalNotRequired && q.ApprovalStatus != host.ApprovalApproved {
		note("%s was tried, and its approval is %s", q.Name(), q.ApprovalStatus)
	}
}

// ends are the words of the log for the end of a request.
var ends = map[host.RequestState][]string{
	host.StateCompleted:         {"completed", "linked"},
	host.StateFailed:            {"failed", "denied", "expired"},
	host.StateRetried:           {"retried"},
	host.StateManuallyCompleted: {"completed by hand"},
	host.StateCancelled:         {"cancelled", "coalesced", "preview", "overtaken"},
}

// told: the log has a line for the beginning, for each attempt and for the end.
func told(note noter, q *host.UserProvisioningRequest, logs []*host.UserProvisioningLog) {
	if len(logs) == 0 || logs[0].Status != "requested" {
		note("the log of %s does not begin with the request", q.Name())
		return
	}
	attempts, last := map[int]bool{}, false
	for _, l := range logs {
		attempts[l.Attempt] = true
		last = last || slices.Contains(ends[q.State], l.Status)
		if l.Actor == "" {
			note("the log of %s says not who did %q", q.Name(), l.Status)
		}
	}
	for n := 1; n <= q.Attempt; n++ {
		if !attempts[n] && (q.State.Ended() || n < q.Attempt) { // the last may be under way
			note("the log of %s says nothing of attempt %d", q.Name(), n)
		}
	}
	if q.State.Ended() && !last {
		note("the log of %s does not say that it is %s", q.Name(), q.State)
	}
}
