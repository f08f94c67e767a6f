package api

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// Scoped is s as the subject of each call's context may have it: of apps, and of
// what belongs to them, those that the route lets it see ([access.At]), of
// requests those, too, that are its to decide, and of people what is no personal
// data where it need not see that. What is not for it is not there. A context
// without a subject is the host's own.
func Scoped(s Service) Service { return scoped{s} }

type scoped struct{ Service }

// within are the apps whose setup the subject may view; nil is the whole host.
func within(ctx context.Context) []string {
	who := access.SubjectOf(ctx)
	if who == nil {
		return nil
	}
	return who.AppsWith(access.ViewSetup)
}

// limited tells whether the subject sees some apps only, or none.
func limited(ctx context.Context) bool { return within(ctx) != nil }

// sees tells whether the subject may view what belongs to an app; "" is the
// whole host.
func sees(ctx context.Context, app string) bool {
	who := access.SubjectOf(ctx)
	return who == nil || who.MayAt(access.ViewSetup, app)
}

func noApp(name string) error {
	return host.Errorf(host.NotFound, "there is no app %q", name)
}

// at refuses what is done to an app that the route is not for.
func at(ctx context.Context, app string) error {
	if access.At(ctx, app) {
		return nil
	}
	return noApp(app)
}

// seen leaves of names those of apps that the subject sees.
func seen(ctx context.Context, apps []string) []string {
	if !limited(ctx) {
		return apps
	}
	return slices.DeleteFunc(slices.Clone(apps), func(app string) bool { return !sees(ctx, app) })
}

// kept leaves those of a list whose app the subject sees.
func kept[T any](ctx context.Context, list []T, err error, app func(T) string) ([]T, error) {
	if err != nil || !limited(ctx) {
		return list, err
	}
	return slices.DeleteFunc(list, func(one T) bool { return !sees(ctx, app(one)) }), nil
}

func (s scoped) Status(ctx context.Context) (Status, error) {
	st, err := s.Service.Status(ctx)
	if limited(ctx) {
		st.LastReloadError = "" // it may be of others' apps
	}
	st.Apps, err = kept(ctx, st.Apps, err, func(a AppStatus) string { return a.Name })
	return st, err
}

func (s scoped) Readiness(ctx context.Context) Readiness {
	r := s.Service.Readiness(ctx)
	if limited(ctx) {
		r.Checks = []Check{} // they are of others' connectors and credentials, too
	}
	return r
}

func (s scoped) Failures(ctx context.Context, since time.Time) ([]Failure, error) {
	list, err := s.Service.Failures(ctx, since)
	return kept(ctx, list, err, func(f Failure) string { return f.App })
}

func (s scoped) Activity(ctx context.Context, since time.Time) ([]Activity, error) {
	list, err := s.Service.Activity(ctx, since)
	return kept(ctx, list, err, func(a Activity) string { return a.App })
}

// Waits are of approval, for one who sees no app, what waits for that one.
func (s scoped) Waits(ctx context.Context) ([]Wait, error) {
	if apps := within(ctx); apps != nil && len(apps) == 0 {
		n, err := s.CountRequests(ctx, RequestFilter{Approval: host.ApprovalRequired})
		if err != nil || n.N == 0 {
			return nil, err
		}
		return []Wait{{For: "approval", Requests: n.N}}, nil
	}
	list, err := s.Service.Waits(ctx)
	return kept(ctx, list, err, func(w Wait) string { return w.App })
}

func (s scoped) Targets(ctx context.Context) ([]Target, error) {
	list, err := s.Service.Targets(ctx)
	if err != nil || !limited(ctx) {
		return list, err
	}
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return slices.DeleteFunc(list, func(t Target) bool { return len(t.Apps) == 0 }), nil
}

func (s scoped) Apps(ctx context.Context) ([]App, error) {
	list, err := s.Service.Apps(ctx)
	return kept(ctx, list, err, func(a App) string { return a.Name })
}

func (s scoped) AppLabels(ctx context.Context) ([]AppLabel, error) {
	list, err := s.Service.AppLabels(ctx)
	return kept(ctx, list, err, func(a AppLabel) string { return a.Name })
}

func (s scoped) App(ctx context.Context, name string) (App, error) {
	if !sees(ctx, name) {
		return App{}, noApp(name)
	}
	return s.Service.App(ctx, name)
}

func (s scoped) Mapping(ctx context.Context, app string, t MappingTrial) (*Mapping, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	m, err := s.Service.Mapping(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		maskMapping(m)
	}
	return m, err
}

func (s scoped) Effect(ctx context.Context, app string, t RulesTrial) (*host.Effect, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	e, err := s.Service.Effect(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		for i := range e.Examples {
			maskTexts(&e.Examples[i].Subject)
			e.Examples[i].Now, e.Examples[i].Then = masked(e.Examples[i].Now), masked(e.Examples[i].Then)
		}
	}
	return e, err
}

func (s scoped) Reconcile(ctx context.Context, app string, o ReconcileOptions) (*host.UserProvisioningRequest, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.Reconcile(ctx, app, o)
}

func (s scoped) ImportAccounts(ctx context.Context, app string, in io.Reader, name, format string, commit bool) (*host.UserProvisioningRequest, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.ImportAccounts(ctx, app, in, name, format, commit)
}

func (s scoped) Assign(ctx context.Context, user, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.Assign(ctx, user, app)
}

func (s scoped) Unassign(ctx context.Context, user, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.Unassign(ctx, user, app)
}

// mayAsk refuses a search or an expression to one from whom names are hidden:
// what is found would tell them.
func mayAsk(ctx context.Context, question string) error {
	if question == "" || reads(ctx) {
		return nil
	}
	return host.Errorf(host.PermissionDenied, "what a search finds tells of people: this needs %s", access.ViewPersonalData)
}

func (s scoped) Users(ctx context.Context, f UserFilter) (l Listing[*host.User], err error) {
	if err := mayAsk(ctx, f.Query); err != nil {
		return l, err
	}
	l, err = s.Service.Users(ctx, f)
	s.shownUsers(ctx, l.Rows...)
	return l, err
}

func (s scoped) CountUsers(ctx context.Context, f UserFilter) (Count, error) {
	if err := mayAsk(ctx, f.Query); err != nil {
		return Count{}, err
	}
	return s.Service.CountUsers(ctx, f)
}

func (s scoped) UsersWhere(ctx context.Context, where, after string, limit int) ([]*host.User, error) {
	if err := mayAsk(ctx, where); err != nil {
		return nil, err
	}
	list, err := s.Service.UsersWhere(ctx, where, after, limit)
	s.shownUsers(ctx, list...)
	return list, err
}

func (s scoped) User(ctx context.Context, idOrName string) (*host.User, error) {
	u, err := s.Service.User(ctx, idOrName)
	if err == nil && !reads(ctx) && u.Id != idOrName {
		return nil, host.Errorf(host.NotFound, "there is no user %q", idOrName) // a name would be a question, too
	}
	if err == nil {
		s.shownUsers(ctx, u)
	}
	return u, err
}

func (s scoped) ChangeUser(ctx context.Context, idOrName, match string, change func(u *host.User) error) (*host.User, error) {
	u, err := s.Service.ChangeUser(ctx, idOrName, match, change)
	if err == nil {
		s.shownUsers(ctx, u)
	}
	return u, err
}

// shownUsers hides what of users is not for the subject.
func (s scoped) shownUsers(ctx context.Context, list ...*host.User) {
	for _, u := range list {
		u.Apps = seen(ctx, u.Apps)
		if !reads(ctx) {
			maskUser(u)
		}
	}
}

func (s scoped) Memberships(ctx context.Context, user string) (Memberships, error) {
	u, err := s.User(ctx, user)
	if err != nil {
		return Memberships{}, err
	}
	m, err := s.Service.Memberships(ctx, u.Id)
	m.Apps, err = kept(ctx, m.Apps, err, func(g Grant) string { return g.App })
	return m, err
}

func (s scoped) Profiles(ctx context.Context) ([]Holding, error) {
	list, err := s.Service.Profiles(ctx)
	return s.holdings(ctx, list), err
}

func (s scoped) PermissionSets(ctx context.Context) ([]Holding, error) {
	list, err := s.Service.PermissionSets(ctx)
	return s.holdings(ctx, list), err
}

func (s scoped) holdings(ctx context.Context, list []Holding) []Holding {
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return list
}

func (s scoped) Groups(ctx context.Context) ([]Group, error) {
	list, err := s.Service.Groups(ctx)
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
		if !reads(ctx) {
			list[i].Members = hiddenAll(list[i].Members)
		}
	}
	return list, err
}

// Usernames and People are of those, too, of whom the subject has something to
// decide.
func (s scoped) Usernames(ctx context.Context, ids []string) (map[string]string, error) {
	names, err := s.Service.Usernames(ctx, ids)
	if err != nil || reads(ctx) {
		return names, err
	}
	known, err := s.decidesAbout(ctx)
	for id := range names {
		if !known[id] {
			names[id] = hidden
		}
	}
	return names, err
}

func (s scoped) People(ctx context.Context, ids []string) (map[string]Person, error) {
	people, err := s.Service.People(ctx, ids)
	if err != nil || reads(ctx) {
		return people, err
	}
	known, err := s.decidesAbout(ctx)
	for id := range people {
		if !known[id] {
			people[id] = Person{Id: id, Username: hidden, DisplayName: hidden}
		}
	}
	return people, err
}

// decidesAbout are the users, and the subject itself, of whom it has something
// to decide.
func (s scoped) decidesAbout(ctx context.Context) (map[string]bool, error) {
	who := access.SubjectOf(ctx)
	if who.UserId == "" || !who.May(access.ApproveRequests) {
		return nil, nil
	}
	l, err := s.Service.Requests(ctx, RequestFilter{Approver: who.UserId, Paging: Paging{Limit: 1000}})
	known := map[string]bool{who.UserId: true}
	for _, r := range l.Rows {
		known[r.UserId] = true
	}
	return known, err
}

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

// mayAskOf is mayAsk about an app's accounts.
func mayAskOf(ctx context.Context, app, question string) error {
	if question == "" || readsOf(ctx, app) {
		return nil
	}
	return mayAsk(ctx, question)
}

func shownAccounts(ctx context.Context, list []*host.UserProvAccount) []*host.UserProvAccount {
	for _, a := range list {
		if a != nil && !readsOf(ctx, a.AppName) {
			maskAccount(a)
		}
	}
	return list
}

// narrowAccounts makes a filter one of the accounts that the subject sees.
func narrowAccounts(ctx context.Context, f *AccountFilter) (none bool) {
	apps := within(ctx)
	switch {
	case apps == nil:
		return false
	case f.App != "":
		return !slices.Contains(apps, f.App)
	case f.Apps != nil:
		apps = slices.DeleteFunc(apps, func(app string) bool { return !slices.Contains(f.Apps, app) })
	}
	f.Apps = apps
	return len(apps) == 0
}

func (s scoped) Accounts(ctx context.Context, f AccountFilter) (l Listing[*host.UserProvAccount], err error) {
	if err := mayAskOf(ctx, f.App, f.Query); err != nil {
		return l, err
	}
	if f.User != "" && !reads(ctx) {
		if _, err := s.User(ctx, f.User); err != nil {
			return l, err
		}
	}
	if narrowAccounts(ctx, &f) {
		return l, nil
	}
	l, err = s.Service.Accounts(ctx, f)
	shownAccounts(ctx, l.Rows)
	return l, err
}

func (s scoped) CountAccounts(ctx context.Context, f AccountFilter) (Count, error) {
	if err := mayAskOf(ctx, f.App, f.Query+f.User); err != nil {
		return Count{}, err
	}
	if narrowAccounts(ctx, &f) {
		return Count{}, nil
	}
	return s.Service.CountAccounts(ctx, f)
}

// account is one that the route lets the subject do something with.
func (s scoped) account(ctx context.Context, id string) (*host.UserProvAccount, error) {
	a, err := s.Service.Account(ctx, id)
	if err == nil && (!access.At(ctx, a.AppName) || !sees(ctx, a.AppName)) {
		return nil, host.Errorf(host.NotFound, "there is no account %q", id)
	}
	return a, err
}

func (s scoped) Account(ctx context.Context, id string) (*host.UserProvAccount, error) {
	a, err := s.account(ctx, id)
	if err == nil {
		shownAccounts(ctx, []*host.UserProvAccount{a})
	}
	return a, err
}

func (s scoped) changing(ctx context.Context, id string, do func() (*host.UserProvAccount, error)) (*host.UserProvAccount, error) {
	if unbounded(ctx) {
		return do()
	}
	if _, err := s.account(ctx, id); err != nil {
		return nil, err
	}
	a, err := do()
	shownAccounts(ctx, []*host.UserProvAccount{a})
	return a, err
}

func (s scoped) Link(ctx context.Context, id, user string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Link(ctx, id, user) })
}

func (s scoped) Unlink(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Unlink(ctx, id) })
}

func (s scoped) Ignore(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Ignore(ctx, id) })
}

func (s scoped) RequestForAccount(ctx context.Context, id string, op host.Operation) (*host.UserProvisioningRequest, error) {
	if _, err := s.account(ctx, id); err != nil {
		return nil, err
	}
	r, err := s.Service.RequestForAccount(ctx, id, op)
	s.shownRequest(ctx, r)
	return r, err
}

func (s scoped) Process(ctx context.Context, app string, o ProcessOptions) (*host.Plan, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.Process(ctx, app, o))
}

// shownPlans hides what of a plan is not for the subject.
func shownPlans(ctx context.Context) func(*host.Plan, error) (*host.Plan, error) {
	return func(p *host.Plan, err error) (*host.Plan, error) {
		if err == nil && p != nil && !readsOf(ctx, p.AppName) {
			maskPlan(p)
		}
		return p, err
	}
}

func (s scoped) Plans(ctx context.Context, app string, states []host.PlanState, limit int) (list []*host.Plan, err error) {
	apps := within(ctx)
	switch {
	case apps == nil:
		list, err = s.Service.Plans(ctx, app, states, limit)
	case app != "" && sees(ctx, app):
		list, err = s.Service.Plans(ctx, app, states, limit)
	case app == "":
		for _, one := range apps {
			more, moreErr := s.Service.Plans(ctx, one, states, limit)
			if moreErr != nil && host.CodeOf(moreErr) != host.NotFound {
				return nil, moreErr
			}
			list = append(list, more...)
		}
		slices.SortFunc(list, func(a, b *host.Plan) int { return cmp.Compare(b.Number, a.Number) })
		list = list[:min(len(list), limit)]
	}
	for _, p := range list {
		_, _ = shownPlans(ctx)(p, nil)
	}
	return list, err
}

func (s scoped) plan(ctx context.Context, id string) (*host.Plan, error) {
	p, err := s.Service.Plan(ctx, id)
	if err == nil && (!access.At(ctx, p.AppName) || !sees(ctx, p.AppName)) {
		return nil, host.Errorf(host.NotFound, "there is no plan %q", id)
	}
	return p, err
}

func (s scoped) Plan(ctx context.Context, id string) (*host.Plan, error) {
	return shownPlans(ctx)(s.plan(ctx, id))
}

func (s scoped) PlannedChanges(ctx context.Context, id string, after int64, limit int) ([]*host.PlannedChange, error) {
	p, err := s.plan(ctx, id)
	if err != nil {
		return nil, err
	}
	list, err := s.Service.PlannedChanges(ctx, id, after, limit)
	if !readsOf(ctx, p.AppName) {
		maskChanges(list)
	}
	return list, err
}

func (s scoped) AllowPlan(ctx context.Context, id, digest, reason string) (*host.Plan, error) {
	if _, err := s.plan(ctx, id); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.AllowPlan(ctx, id, digest, reason))
}

func (s scoped) RejectPlan(ctx context.Context, id, reason string) (*host.Plan, error) {
	if _, err := s.plan(ctx, id); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.RejectPlan(ctx, id, reason))
}

func (s scoped) WouldChange(ctx context.Context, list []*host.UserProvisioningRequest) ([]*host.PlannedChange, error) {
	changes, err := s.Service.WouldChange(ctx, list)
	if !reads(ctx) {
		maskChanges(changes)
	}
	return changes, err
}

func (s scoped) Plugins(ctx context.Context) ([]Plugin, error) {
	list, err := s.Service.Plugins(ctx)
	for i := range list { // each may be chosen for an app of one's own
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return list, err
}

func (s scoped) Plugin(ctx context.Context, name string) (Plugin, error) {
	p, err := s.Service.Plugin(ctx, name)
	p.Apps = seen(ctx, p.Apps)
	return p, err
}

// Builds say who brought them.
func (s scoped) Builds(ctx context.Context, connector string) ([]Build, error) {
	list, err := s.Service.Builds(ctx, connector)
	if !reads(ctx) {
		for _, b := range list {
			maskActors(&b.By)
		}
	}
	return list, err
}

// visible tells whether the subject sees a credential: one that its apps use,
// or nobody's.
func visible(ctx context.Context, c *Credential) bool {
	return !limited(ctx) || len(c.Apps) == 0 || len(seen(ctx, c.Apps)) > 0
}

func shownCredential(ctx context.Context, c *Credential) {
	c.Apps = seen(ctx, c.Apps)
	if limited(ctx) {
		c.Uses = slices.DeleteFunc(slices.Clone(c.Uses), func(u CredentialUse) bool { return !sees(ctx, u.App) })
	}
	if !reads(ctx) {
		for _, a := range c.Authorizations {
			maskTexts(&a.Principal)
			maskActors(&a.GrantedBy)
		}
	}
}

func (s scoped) Credentials(ctx context.Context) ([]Credential, error) {
	list, err := s.Service.Credentials(ctx)
	list = slices.DeleteFunc(list, func(c Credential) bool { return !visible(ctx, &c) })
	for i := range list {
		shownCredential(ctx, &list[i])
	}
	return list, err
}

func (s scoped) Credential(ctx context.Context, name string) (Credential, error) {
	c, err := s.Service.Credential(ctx, name)
	if err == nil && !visible(ctx, &c) {
		return Credential{}, host.Errorf(host.NotFound, "there is no credential %q", name)
	}
	shownCredential(ctx, &c)
	return c, err
}

// credential is one that the route lets the subject change: all apps that use
// it are the subject's.
func (s scoped) credential(ctx context.Context, name string) error {
	if access.At(ctx, "") {
		return nil
	}
	c, err := s.Service.Credential(ctx, name)
	switch {
	case err != nil:
		return err
	case !visible(ctx, &c):
		return host.Errorf(host.NotFound, "there is no credential %q", name)
	case len(c.Apps) == 0 || slices.ContainsFunc(c.Apps, func(app string) bool { return !access.At(ctx, app) }):
		return host.Errorf(host.PermissionDenied, "%s is not of your apps alone", name)
	default:
		return nil
	}
}

func (s scoped) TestCredential(ctx context.Context, name, user, path string) ([]TestStep, error) {
	if err := s.credential(ctx, name); err != nil {
		return nil, err
	}
	return s.Service.TestCredential(ctx, name, user, path)
}

func (s scoped) Authorize(ctx context.Context, name string, o AuthorizeOptions) (*Authorizing, error) {
	if err := s.credential(ctx, name); err != nil {
		return nil, err
	}
	return s.Service.Authorize(ctx, name, o)
}

func (s scoped) RevokeCredential(ctx context.Context, name, user string) (string, error) {
	if err := s.credential(ctx, name); err != nil {
		return "", err
	}
	return s.Service.RevokeCredential(ctx, name, user)
}

func (s scoped) ForgetCredential(ctx context.Context, name string) error {
	if err := s.credential(ctx, name); err != nil {
		return err
	}
	return s.Service.ForgetCredential(ctx, name)
}

// setting refuses an entry that the route is not for. What is no app belongs to
// the whole host.
func setting(ctx context.Context, list, name string) error {
	if list == "apps" {
		return at(ctx, name)
	}
	if !access.At(ctx, "") {
		return host.Errorf(host.NotFound, "there is no %s of %s", name, list)
	}
	return nil
}

// uses refuses an app that would use a credential of others' apps.
func (s scoped) uses(ctx context.Context, list string, document []byte) error {
	var app struct{ Credential string }
	if list != "apps" || json.Unmarshal(document, &app) != nil {
		return nil // it is said what is wrong with it
	}
	return s.mayUse(ctx, app.Credential)
}

// mayUse refuses a credential of others' apps: through an app of one's own it
// could be sent anything.
func (s scoped) mayUse(ctx context.Context, credential string) error {
	if credential == "" || !limited(ctx) {
		return nil
	}
	if _, err := s.Credential(ctx, credential); err != nil {
		return &host.Error{Code: host.PermissionDenied, Field: "credential", Message: credential + " is none of your apps' credentials; somebody who manages all must say so"}
	}
	return nil
}

func (s scoped) Settings(ctx context.Context, list string) ([]Setting, error) {
	all, err := s.Service.Settings(ctx, list)
	return slices.DeleteFunc(all, func(one Setting) bool { return setting(ctx, one.List, one.Name) != nil }), err
}

func (s scoped) Setting(ctx context.Context, list, name string) (Setting, error) {
	if err := setting(ctx, list, name); err != nil {
		return Setting{}, err
	}
	return s.Service.Setting(ctx, list, name)
}

func (s scoped) CheckSetting(ctx context.Context, list, name string, document []byte) error {
	if err := setting(ctx, list, name); err != nil {
		return err
	}
	return s.Service.CheckSetting(ctx, list, name, document)
}

func (s scoped) PutSetting(ctx context.Context, list, name string, document []byte, revision int64) (Setting, error) {
	if err := setting(ctx, list, name); err != nil {
		return Setting{}, err
	}
	if err := s.uses(ctx, list, document); err != nil {
		return Setting{}, err
	}
	return s.Service.PutSetting(ctx, list, name, document, revision)
}

func (s scoped) DeleteSetting(ctx context.Context, list, name string, revision int64) error {
	if err := setting(ctx, list, name); err != nil {
		return err
	}
	return s.Service.DeleteSetting(ctx, list, name, revision)
}

// Notices are, for one who sees some apps, those of the apps, their connectors
// and credentials, runs and plans.
func (s scoped) Notices(ctx context.Context, since time.Time) ([]Notice, error) {
	list, err := s.Service.Notices(ctx, since)
	if err != nil || !limited(ctx) {
		return list, err
	}
	own, err := s.subjects(ctx)
	return slices.DeleteFunc(list, func(n Notice) bool { return !s.isOf(ctx, n, own) }), err
}

func (s scoped) Notice(ctx context.Context, id string) (Notice, error) {
	n, err := s.Service.Notice(ctx, id)
	if err != nil || !limited(ctx) {
		return n, err
	}
	own, err := s.subjects(ctx)
	if err == nil && !s.isOf(ctx, n, own) {
		return Notice{}, host.Errorf(host.NotFound, "there is no notice %q", id)
	}
	return n, err
}

// subjects are the names that notices have which are of the subject's apps.
func (s scoped) subjects(ctx context.Context) (names map[string]bool, err error) {
	names = map[string]bool{}
	apps, err := s.Apps(ctx)
	for _, a := range apps {
		names[a.Name] = true
		if a.Config != nil {
			names[a.Config.Connector] = true
			names[a.Config.NamedCredentialId] = true
		}
	}
	return names, err
}

func (s scoped) isOf(ctx context.Context, n Notice, own map[string]bool) bool {
	if own[n.Subject] {
		return true
	}
	switch {
	case strings.HasPrefix(n.Subject, "UPR-"):
		_, _, err := s.request(ctx, n.Subject)
		return err == nil
	case strings.HasPrefix(n.Subject, "PLN-"):
		_, err := s.plan(ctx, n.Subject)
		return err == nil
	default:
		return false
	}
}

// AuditEntries name people where the subject may see that.
func (s scoped) AuditEntries(ctx context.Context, f AuditFilter) ([]*AuditEntry, error) {
	list, err := s.Service.AuditEntries(ctx, f)
	if !reads(ctx) {
		for _, e := range list {
			maskTexts(&e.ActorName)
		}
	}
	return list, err
}

func (s scoped) Erasures(ctx context.Context) ([]*Erasure, error) {
	list, err := s.Service.Erasures(ctx)
	if !reads(ctx) {
		for _, e := range list {
			maskActors(&e.Actor)
		}
	}
	return list, err
}

func (s scoped) Relink(ctx context.Context, app string, c LinkChange) (Relinked, error) {
	if err := at(ctx, app); err != nil {
		return Relinked{}, err
	}
	return s.Service.Relink(ctx, app, c)
}

func (s scoped) UndoRelink(ctx context.Context, app, undo string) (int64, error) {
	if err := at(ctx, app); err != nil {
		return 0, err
	}
	return s.Service.UndoRelink(ctx, app, undo)
}

func (s scoped) Wizards(ctx context.Context) ([]*Wizard, error) {
	list, err := s.Service.Wizards(ctx)
	return slices.DeleteFunc(list, func(w *Wizard) bool { return !access.At(ctx, w.App) }), err
}

func (s scoped) Wizard(ctx context.Context, app string) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.Wizard(ctx, app)
}

func (s scoped) SaveWizard(ctx context.Context, app, step string, save WizardSave) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	credential, _ := save.Values["credential"].(string)
	if err := s.mayUse(ctx, credential); err != nil {
		return nil, err
	}
	return s.Service.SaveWizard(ctx, app, step, save)
}

func (s scoped) DropWizard(ctx context.Context, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.DropWizard(ctx, app)
}

func (s scoped) TryWizard(ctx context.Context, app string, t WizardTrial) (*Mapping, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	m, err := s.Service.TryWizard(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		maskMapping(m)
	}
	return m, err
}

func (s scoped) SuggestWizard(ctx context.Context, app string) (*WizardSuggestions, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.SuggestWizard(ctx, app)
}

func (s scoped) CollectWizard(ctx context.Context, app string, revision int64) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.CollectWizard(ctx, app, revision)
}

func (s scoped) CommitWizard(ctx context.Context, app string, c WizardCommit) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.CommitWizard(ctx, app, c)
}

func (s scoped) Following(ctx context.Context, id, after string, limit int) (*Following, error) {
	r, _, err := s.request(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := s.Service.Following(ctx, id, after, limit)
	if err == nil && !readsOf(ctx, r.AppName) {
		maskChanges(f.Changes)
	}
	return f, err
}
