package provision_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/provision/provisiontest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// Whatever events, answers, crashes and retries come, in whatever order: the
// invariants hold after each step, and when the trouble is over everybody has
// what they should have, once.
func TestTheInvariantsHoldWhateverComes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		if s.Dialect() == "postgres" || testing.Short() {
			fewer(t, "rapid.checks", 20)
		}
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(t, rt, s)
			rt.Repeat(m.actions())
			m.converges()
		})
	})
}

// fewer divides a number of rapid's flags, so that a flag on the command line
// still counts.
func fewer(t *testing.T, name string, percent int) {
	f := flag.Lookup(name)
	before := f.Value.String()
	var n int
	_, err := fmt.Sscan(before, &n)
	require.NoError(t, err)
	require.NoError(t, f.Value.Set(fmt.Sprint(max(1, n*percent/100))))
	t.Cleanup(func() { require.NoError(t, f.Value.Set(before)) })
}

// rapidTB lets the world fail one check of rapid.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (t rapidTB) Helper()                           {}
func (t rapidTB) Context() context.Context          { return t.rt.Context() }
func (t rapidTB) Cleanup(fn func())                 { t.rt.Cleanup(fn) }
func (t rapidTB) Errorf(format string, args ...any) { t.rt.Errorf(format, args...) }
func (t rapidTB) Fatalf(format string, args ...any) { t.rt.Fatalf(format, args...) }
func (t rapidTB) Fatal(args ...any)                 { t.rt.Fatal(args...) }
func (t rapidTB) FailNow()                          { t.rt.FailNow() }

// model is what must be true of the world, and what a test does to it.
type model struct {
	*world
	rt      *rapid.T
	app     *host.UserProvisioningConfig
	people  []*modelPerson
	calm    bool   // the target and the processes do as they should
	job     string // that is worked on
	twice   bool   // by two workers
	serial  int
	states  map[string]host.RequestState // as last seen
	reached map[string]int64             // by user: the number of the last request that the target was asked for
}

type modelPerson struct {
	id string
	// withdrawn: a person has cancelled or completed a request by hand, so what
	// is in the target is that person's business.
	withdrawn bool
}

const modelApp = "acme"

// newModel empties the database and draws an app.
func newModel(t *testing.T, rt *rapid.T, s *store.Store) *model {
	for _, table := range []string{"user_provisioning_logs", "user_prov_accounts", "user_provisioning_requests", "user_apps", "users", "user_provisioning_configs", "connected_apps", "target_states"} {
		_, err := s.DB().ExecContext(rt.Context(), "DELETE FROM "+table)
		require.NoError(rt, err)
	}
	m := &model{world: newWorldOver(rapidTB{t, rt}, s), rt: rt, states: map[string]host.RequestState{}, reached: map[string]int64{}}
	_, err := s.DB().ExecContext(rt.Context(), "DELETE FROM harness_jobs")
	require.NoError(rt, err)
	consequence := rapid.SampledFrom([]host.Consequence{host.DoDeactivate, host.DoDeactivate, host.DoDelete, host.DoFreeze, host.DoNothing})
	m.world.app(modelApp, func(c *host.UserProvisioningConfig) {
		c.MaxAttempts = rapid.IntRange(1, 4).Draw(rt, "max attempts")
		c.OnUnassign, c.OnDisable, c.OnDelete = consequence.Draw(rt, "on unassign"), consequence.Draw(rt, "on disable"), consequence.Draw(rt, "on delete")
		if rapid.Bool().Draw(rt, "deletes later") {
			c.DeleteAfter = 24 * time.Hour
		}
		if rapid.IntRange(0, 3).Draw(rt, "approval") == 0 {
			c.ApprovalRequired, c.ApprovalGroup = "group", "owners"
		}
		if rapid.IntRange(0, 3).Draw(rt, "no freeze") == 0 {
			m.target.lacks = []pdk.Operation{pdk.OpFreeze, pdk.OpUnfreeze}
			c.Fallback = map[host.Operation]host.Operation{host.Freeze: host.Deactivate, host.Unfreeze: host.Activate}
		}
		m.app = c
	})
	if rapid.Bool().Draw(rt, "limits") {
		limits := []provision.TargetLimits{{Name: "Cred", Apps: []string{modelApp}, Failures: rapid.IntRange(0, 3).Draw(rt, "failures"), Rest: 30 * time.Second, Concurrency: rapid.IntRange(0, 2).Draw(rt, "concurrency")}}
		m.limits = func(*host.UserProvisioningConfig) []provision.TargetLimits { return limits }
	}
	m.target.before = m.asked
	m.target.chance = m.answer
	return m
}

// asked looks at each call that reaches the target: it is approved, and no
// earlier request of the account comes after a later one.
func (m *model) asked(op pdk.Operation, in pdk.Input) {
	r := m.request(in.UserProvisioningRequestId)
	if !m.calm && !m.twice && rapid.IntRange(0, 19).Draw(m.rt, "taken over") == 0 {
		// The worker was thought dead: another does all of it before this call
		// reaches the target.
		m.twice = true
		defer func() { m.twice = false }()
		if err := m.engine.Work(context.WithValue(m.rt.Context(), harnessJob{}, m.job), r.Id); err != nil {
			m.rt.Fatalf("the second worker: %v", err)
		}
		return
	}
	if op == pdk.OpRead || op == pdk.OpCheck {
		return
	}
	if r.ApprovalStatus != host.ApprovalNotRequired && r.ApprovalStatus != host.ApprovalApproved {
		m.rt.Fatalf("%s of %s reached the target, and its approval is %s", op, r.Name(), r.ApprovalStatus)
	}
	if r.Preview {
		m.rt.Fatalf("%s of %s reached the target, though it is a preview", op, r.Name())
	}
	if r.ApprovalStatus == host.ApprovalApproved || r.ScheduleDate != nil {
		return // those may be passed
	}
	if last := m.reached[r.UserId]; r.Number < last {
		m.rt.Fatalf("%s of %s reached the target after UPR-%06d", op, r.Name(), last)
	}
	m.reached[r.UserId] = r.Number
}

// answer draws what comes of a call.
func (m *model) answer(op pdk.Operation, _ pdk.Input) *reply {
	if m.calm || rapid.IntRange(0, 9).Draw(m.rt, "trouble") < 5 {
		return nil
	}
	gone := []reply{fails(host.NotFound)}
	if op == pdk.OpDelete || op == pdk.OpCheck || op == pdk.OpRead {
		gone = nil // it would be believed, and rightly: who looks for an account that may be there has no other witness
	}
	uncertain := host.Errorf(host.Unavailable, "the connection was cut")
	uncertain.Uncertain = true
	choices := append(gone, lost(), lost(), reply{err: uncertain}, reply{crash: true}, reply{crash: true, acts: true},
		reply{err: host.Errorf(host.Unavailable, "503"), status: 503},
		fails(host.InvalidInput), fails(host.Unauthorized), fails(host.PermissionDenied), fails(host.Conflict), fails(host.Unsupported), fails(host.Internal),
		reply{err: host.Errorf(host.RateLimited, "429"), status: 429}, reply{err: &host.Error{Code: host.RateLimited, Message: "429", RetryAfter: 20 * time.Second}, status: 429})
	if op == pdk.OpCreate {
		choices = append(choices, fails(host.AlreadyExists))
	}
	if op == pdk.OpCreate || op == pdk.OpUpdate || op == pdk.OpCheck {
		choices = append(choices, reply{out: &pdk.Output{Pending: &pdk.Pending{Token: "ticket", CheckAfterSeconds: 60}}, acts: op != pdk.OpCheck})
	}
	i := rapid.IntRange(0, len(choices)-1).Draw(m.rt, "answer")
	return &choices[i]
}

func (m *model) actions() map[string]func(*rapid.T) {
	each := map[string]func(){
		"create":    m.create,
		"change":    func() { m.changed(func(u *host.User) { u.Title = m.next("title") }) },
		"rename":    func() { m.changed(func(u *host.User) { u.Username = m.next("name") }) },
		"disable":   func() { m.changed(disable) },
		"enable":    func() { m.changed(enable) }, // a rehire where the person was deleted
		"freeze":    func() { m.changed(freeze) },
		"unfreeze":  func() { m.changed(unfreeze) },
		"assign":    func() { m.assigned(true) },
		"unassign":  func() { m.assigned(false) },
		"delete":    func() { m.with(func(p *modelPerson) { m.deleted(p.id) }) },
		"ask":       m.ask,
		"work":      m.work,
		"work more": m.work,
		"work on":   m.work,
		"sweep":     func() { require.NoError(m.rt, m.engine.Sweep(m.rt.Context())) },
		"pass":      func() { m.pass(time.Duration(rapid.IntRange(1, 120).Draw(m.rt, "seconds")) * time.Second) },
		"pass long": func() { m.pass(25 * time.Hour) },
		"retry":     m.retry,
		"withdraw":  m.withdraw,
		"decide":    m.decide,
	}
	actions := map[string]func(*rapid.T){"": func(*rapid.T) { m.check() }}
	for name, do := range each {
		actions[name] = func(*rapid.T) { do() }
	}
	return actions
}

func (m *model) next(what string) string {
	m.serial++
	return fmt.Sprintf("%s-%d", what, m.serial)
}

func (m *model) create() {
	if len(m.people) >= 3 {
		m.rt.Skip("enough people")
	}
	var apps []string
	if rapid.IntRange(0, 3).Draw(m.rt, "assigned") > 0 {
		apps = []string{modelApp}
	}
	m.people = append(m.people, &modelPerson{id: m.user(m.next("name"), apps).Id})
}

func (m *model) with(do func(p *modelPerson)) {
	if len(m.people) == 0 {
		m.rt.Skip("nobody is there")
	}
	do(rapid.SampledFrom(m.people).Draw(m.rt, "person"))
}

func (m *model) changed(change func(*host.User)) {
	m.with(func(p *modelPerson) { m.change(p.id, change) })
}

func (m *model) assigned(has bool) {
	m.with(func(p *modelPerson) { m.assign(p.id, modelApp, has) })
}

// ask is a person who wants one request; what is not allowed is refused.
func (m *model) ask() {
	m.with(func(p *modelPerson) {
		op := rapid.SampledFrom([]host.Operation{host.Read, host.Update}).Draw(m.rt, "operation")
		m.refusable(func(ctx context.Context, tx harnessTx) error {
			_, err := m.engine.CreateRequest(ctx, tx, p.id, modelApp, op)
			return err
		})
		if op == host.Update {
			p.withdrawn = true // it makes an account for who should have none
		}
	})
}

// refusable does what the engine may refuse, but only as a Conflict.
func (m *model) refusable(fn func(ctx context.Context, tx harnessTx) error) bool {
	err := m.try(fn)
	if err != nil && host.CodeOf(err) != host.Conflict {
		m.rt.Fatalf("refused as %s: %v", host.CodeOf(err), err)
	}
	return err == nil
}

// work works one job that is due, and may die while it does.
func (m *model) work() {
	job, requestID, ok := m.due()
	if !ok {
		return
	}
	m.job = job
	m.crashInEnd = !m.calm && rapid.IntRange(0, 9).Draw(m.rt, "crash in the end") == 0
	died := func() (died bool) {
		defer func() {
			m.crashInEnd = false
			if p := recover(); p != nil {
				if _, is := p.(crash); !is {
					panic(p)
				}
				died = true
			}
		}()
		err := m.engine.Work(context.WithValue(m.rt.Context(), harnessJob{}, job), requestID)
		if err != nil {
			m.rt.Fatalf("work: %v", err)
		}
		return false
	}()
	if died && m.calm {
		m.rt.Fatalf("it died by itself")
	}
}

func (m *model) some(states ...host.RequestState) *host.UserProvisioningRequest {
	var list []*host.UserProvisioningRequest
	for _, r := range m.requests() {
		if slices.Contains(states, r.State) {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		m.rt.Skip("no such request")
	}
	return rapid.SampledFrom(list).Draw(m.rt, "request")
}

func (m *model) retry() {
	r := m.some(host.StateFailed)
	m.refusable(func(ctx context.Context, tx harnessTx) error {
		_, err := m.engine.Retry(ctx, tx, r.Id)
		return err
	})
}

func (m *model) withdraw() {
	r := m.some(host.StateNew, host.StateRequested, host.StateFailed)
	byHand := rapid.Bool().Draw(m.rt, "by hand")
	if m.refusable(func(ctx context.Context, tx harnessTx) (err error) {
		if byHand {
			_, err = m.engine.CompleteManually(ctx, tx, r.Id, "done")
		} else {
			_, err = m.engine.Cancel(ctx, tx, r.Id)
		}
		return err
	}) {
		m.handedOver(r)
	}
}

func (m *model) handedOver(r *host.UserProvisioningRequest) {
	for _, p := range m.people {
		if p.id == r.UserId {
			p.withdrawn = true
		}
	}
}

func (m *model) decide() {
	var list []*host.UserProvisioningRequest
	for _, r := range m.requests() {
		if r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		m.rt.Skip("nobody waits for approval")
	}
	r := rapid.SampledFrom(list).Draw(m.rt, "request")
	yes := rapid.IntRange(0, 2).Draw(m.rt, "yes") > 0
	if !m.decided(r, yes) {
		m.rt.Fatalf("an administrator could not decide about %s", r.Name())
	}
	if !yes {
		m.handedOver(r)
	}
}

func (m *model) decided(r *host.UserProvisioningRequest, yes bool) bool {
	return m.refusable(func(ctx context.Context, tx harnessTx) (err error) {
		ctx = host.WithActor(ctx, host.Administrator("model"))
		if yes {
			_, err = m.engine.Approve(ctx, tx, r.Id, "")
		} else {
			_, err = m.engine.Deny(ctx, tx, r.Id, "no")
		}
		return err
	})
}

// check looks at all that must be true after each step.
func (m *model) check() {
	records := m.records()
	for _, violation := range records.Violations() {
		m.rt.Errorf("%s", violation)
	}
	for _, r := range records.Requests {
		was, seen := m.states[r.Id]
		if seen && was != r.State && !reachable(was, r.State) {
			m.rt.Errorf("%s was %s and is %s", r.Name(), was, r.State)
		}
		m.states[r.Id] = r.State
	}
	of := map[string][]string{}
	for _, a := range m.target.accounts {
		if of[a.Person] = append(of[a.Person], a.ID); len(of[a.Person]) > 1 {
			m.rt.Errorf("the target has two accounts of %s: %v", a.Person, of[a.Person])
		}
	}
	if m.rt.Failed() {
		m.tell()
		m.rt.FailNow()
	}
}

// tell writes what happened to the requests.
func (m *model) tell() {
	for _, r := range m.requests() {
		m.rt.Logf("%s %s of %s: %s, approval %s, attempt %d, waits for %q, queued %v", r.Name(), r.Operation, r.UserId, r.State, r.ApprovalStatus, r.Attempt, r.WaitsFor, r.Queued)
		for _, l := range m.logs(r.Id) {
			m.rt.Logf("    %s: %s", l.Status, l.Details)
		}
	}
}

// reachable tells whether a state may follow another in one step of the test,
// which may be two of the table.
func reachable(from, to host.RequestState) bool {
	if from.MayBecome(to) {
		return true
	}
	return slices.ContainsFunc(host.RequestStates, func(by host.RequestState) bool { return from.MayBecome(by) && by.MayBecome(to) })
}

// records reads all that there is.
func (w *world) records() provisiontest.Records {
	w.t.Helper()
	r := provisiontest.Records{Logs: map[string][]*host.UserProvisioningLog{}, Jobs: map[string]int{}, Now: w.clock()}
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		clear(r.Logs)
		clear(r.Jobs)
		if r.Requests, err = tx.Requests(ctx, store.RequestFilter{Limit: 100_000}); err != nil {
			return err
		}
		if r.Accounts, err = tx.Accounts(ctx, store.AccountFilter{Limit: 100_000}); err != nil {
			return err
		}
		jobs, err := tx.SQL().QueryContext(ctx, "SELECT request_id, COUNT(*) FROM harness_jobs GROUP BY request_id")
		if err != nil {
			return err
		}
		for jobs.Next() {
			var id string
			var n int
			if err := jobs.Scan(&id, &n); err != nil {
				return errors.Join(err, jobs.Close())
			}
			r.Jobs[id] = n
		}
		if err := errors.Join(jobs.Err(), jobs.Close()); err != nil {
			return err
		}
		lines, err := tx.SQL().QueryContext(ctx, "SELECT user_provisioning_request_id, status, attempt, actor FROM user_provisioning_logs ORDER BY number")
		if err != nil {
			return err
		}
		for lines.Next() {
			l := new(host.UserProvisioningLog)
			if err := lines.Scan(&l.UserProvisioningRequestId, &l.Status, &l.Attempt, &l.Actor); err != nil {
				return errors.Join(err, lines.Close())
			}
			r.Logs[l.UserProvisioningRequestId] = append(r.Logs[l.UserProvisioningRequestId], l)
		}
		return errors.Join(lines.Err(), lines.Close())
	})
	return r
}

// converges ends all trouble: what waits is approved and worked on, what failed
// is retried. Then everybody has what they should have.
func (m *model) converges() {
	m.calm = true
	const enough = 5          // retries of one request: what fails then will always, as an Unfreeze where a person has denied the Create
	tried := map[string]int{} // by request: retries that led to it
	for round := 0; ; round++ {
		if round == 300 {
			m.tell()
			m.rt.Fatalf("it does not come to an end")
		}
		for range 1000 {
			if _, _, ok := m.due(); !ok {
				break
			}
			m.work()
		}
		m.check()
		require.NoError(m.rt, m.engine.Sweep(m.rt.Context()))
		open, retried := 0, 0
		for _, r := range m.requests() {
			switch {
			case r.State == host.StateFailed && tried[r.Id] < enough && r.ApprovalStatus != host.ApprovalDenied && r.Operation != host.Read:
				if m.refusable(func(ctx context.Context, tx harnessTx) error {
					again, err := m.engine.Retry(ctx, tx, r.Id)
					if err == nil {
						tried[again.Id] = tried[r.Id] + 1
					}
					return err
				}) {
					retried++
				} else {
					tried[r.Id] = enough
				}
			case r.State.Ended():
			case r.ApprovalStatus == host.ApprovalRequired:
				open++
				m.decided(r, true)
			default:
				open++
			}
		}
		if open == 0 && retried == 0 && m.jobs() == 0 {
			break // the jobs of scheduled requests that were withdrawn have come and gone, too
		}
		m.pass(time.Hour)
	}
	for _, p := range m.people {
		if !p.withdrawn {
			m.hasWhatIsDue(p)
		}
	}
}

// hasWhatIsDue compares the target with what a person should have there.
func (m *model) hasWhatIsDue(p *modelPerson) {
	var u *host.User
	m.do(func(ctx context.Context, tx harnessTx) (err error) {
		u, err = tx.User(ctx, p.id)
		return err
	})
	var there *targetAccount
	for _, a := range m.target.accounts {
		if a.Person == p.id {
			there = a
		}
	}
	on := slices.Contains(u.Apps, modelApp) && u.IsActive && u.DeletedDate == nil
	wrong := func(format string, args ...any) {
		m.tell()
		m.rt.Fatalf("%s (%s; active %v, frozen %v, deleted %v, apps %v): %s; the target has %+v", u.Username, u.Id, u.IsActive, u.IsFrozen, u.DeletedDate != nil, u.Apps, fmt.Sprintf(format, args...), there)
	}
	if !on {
		hard := []host.Consequence{host.DoDeactivate, host.DoDelete}
		if there != nil && there.Active && slices.Contains(hard, m.app.OnUnassign) && slices.Contains(hard, m.app.OnDisable) && slices.Contains(hard, m.app.OnDelete) {
			wrong("should have no active account")
		}
		return
	}
	linked := m.account(p.id, modelApp)
	byDeactivating := m.app.Fallback[host.Freeze] == host.Deactivate
	switch {
	case there == nil:
		wrong("has no account")
	case linked == nil || linked.ExternalUserId != there.ID:
		wrong("is linked to %v", linked)
	case there.UserName != u.Username || there.Attributes["title"] != any(u.Title) && !(u.Title == "" && there.Attributes["title"] == nil):
		wrong("has other values; should have %q", u.Title)
	case there.Active == (byDeactivating && u.IsFrozen):
		wrong("should be active, unless frozen by deactivating")
	case !byDeactivating && there.Frozen != u.IsFrozen:
		wrong("should be as frozen as the user")
	case linked.Active != there.Active || linked.Frozen != there.Frozen:
		wrong("we hold it for active %v, frozen %v", linked.Active, linked.Frozen)
	}
}

// The table of transitions is the database's law too: every step that is not in
// it is refused by the database itself, whoever tries.
func TestTheDatabaseRefusesEveryIllegalTransition(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(modelApp)
		u := w.user("ada", []string{modelApp})
		legal := map[host.Transition]bool{}
		for _, step := range host.Transitions() {
			legal[step] = true
		}
		refused := 0
		for i, from := range host.RequestStates {
			for j, to := range host.RequestStates {
				if from == to {
					continue
				}
				id := fmt.Sprintf("r-%d-%d", i, j)
				var err error
				w.do(func(ctx context.Context, tx harnessTx) error {
					r := *w.requestsIn(ctx, tx)[0]
					r.Id, r.State, r.UserId, r.AppName = id, from, u.Id+id, modelApp+id
					return tx.InsertRequest(ctx, &r)
				})
				_, err = w.store.DB().ExecContext(t.Context(), fmt.Sprintf("UPDATE user_provisioning_requests SET state = '%s' WHERE id = '%s'", to, id))
				if legal[host.Transition{From: from, To: to}] {
					require.NoError(t, err, "%s to %s", from, to)
					continue
				}
				require.Error(t, err, "%s to %s", from, to)
				refused++
			}
		}
		require.Equal(t, len(host.RequestStates)*(len(host.RequestStates)-1)-len(host.Transitions()), refused)
	})
}

func (w *world) requestsIn(ctx context.Context, tx harnessTx) []*host.UserProvisioningRequest {
	list, err := tx.Requests(ctx, store.RequestFilter{Limit: 10})
	require.NoError(w.t, err)
	return list
}

// Each invariant finds what breaks it.
func TestTheInvariantsFindWhatBreaksThem(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	good := func() provisiontest.Records {
		log := func(status string, attempt int) *host.UserProvisioningLog {
			return &host.UserProvisioningLog{Status: status, Attempt: attempt, Actor: "provost"}
		}
		return provisiontest.Records{
			Requests: []*host.UserProvisioningRequest{
				{Id: "1", Number: 1, AppName: "a", UserId: "u", State: host.StateCompleted, Attempt: 1, CompletedDate: &now, ApprovalStatus: host.ApprovalNotRequired},
				{Id: "2", Number: 2, AppName: "a", UserId: "u", State: host.StateRequested, Attempt: 1, InFlight: true, Queued: true, ApprovalStatus: host.ApprovalApproved},
				{Id: "3", Number: 3, AppName: "a", UserId: "u", State: host.StateNew, ApprovalStatus: host.ApprovalNotRequired},
			},
			Logs: map[string][]*host.UserProvisioningLog{"1": {log("requested", 0), log("linked", 1)}, "2": {log("requested", 0)}, "3": {log("requested", 0)}},
			Accounts: []*host.UserProvAccount{{Number: 1, AppName: "a", UserId: "u", ExternalUserId: "x", LinkState: host.Linked},
				{Number: 2, AppName: "a", UserId: "v", ExternalUserId: "y", LinkState: host.Linked}},
			Jobs: map[string]int{"2": 1}, Now: now,
		}
	}
	require.Empty(t, good().Violations())
	breaks := map[string]func(r *provisiontest.Records){
		"two accounts in a":       func(r *provisiontest.Records) { r.Accounts[1].UserId = "u" },
		"is there twice":          func(r *provisiontest.Records) { r.Accounts[1].ExternalUserId = "x" },
		"linked to nobody":        func(r *provisiontest.Records) { r.Accounts[1].UserId = "" },
		"nothing goes on with":    func(r *provisiontest.Records) { r.Jobs = nil; r.Requests[1].Queued = false },
		"has a job and has none":  func(r *provisiontest.Records) { r.Requests[2].Queued = true },
		"which is not there":      func(r *provisiontest.Records) { r.Jobs["9"] = 1 },
		"another request of its":  func(r *provisiontest.Records) { r.Requests[2].State, r.Jobs["3"] = host.StateRequested, 1 },
		"without a date":          func(r *provisiontest.Records) { r.Requests[0].CompletedDate = nil },
		"still under way":         func(r *provisiontest.Records) { r.Requests[0].InFlight = true },
		"has an end":              func(r *provisiontest.Records) { r.Requests[1].CompletedDate = &now },
		"its approval is":         func(r *provisiontest.Records) { r.Requests[1].ApprovalStatus = host.ApprovalRequired },
		"does not begin with":     func(r *provisiontest.Records) { delete(r.Logs, "3") },
		"says nothing of attempt": func(r *provisiontest.Records) { r.Requests[0].Attempt = 2 },
		"does not say that it is": func(r *provisiontest.Records) { r.Logs["1"][1].Status = "attempt 1" },
		"says not who did":        func(r *provisiontest.Records) { r.Logs["1"][1].Actor = "" },
		"says not why":            func(r *provisiontest.Records) { r.Requests[0].State = host.StateFailed },
	}
	for _, says := range slices.Sorted(maps.Keys(breaks)) {
		r := good()
		breaks[says](&r)
		require.Contains(t, strings.Join(r.Violations(), "\n"), says)
	}
}
