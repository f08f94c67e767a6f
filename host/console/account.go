package console

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/pdk"
)

// accountStates are the choices of states in the list of the accounts of an app.
var accountStates = []struct {
	Key, Label string
	Filter     api.AccountFilter
}{
	{Key: "", Label: "All"},
	{Key: "decide", Label: "Needs a decision", Filter: api.AccountFilter{Undecided: true}},
	{Key: "linked", Label: "Linked", Filter: api.AccountFilter{State: host.Linked}},
	{Key: "drifted", Label: "Differs", Filter: api.AccountFilter{Drifted: true}},
	{Key: "duplicate", Label: "Duplicate", Filter: api.AccountFilter{State: host.Duplicate}},
	{Key: "orphaned", Label: "Orphaned", Filter: api.AccountFilter{State: host.Orphaned}},
	{Key: "ignored", Label: "Ignored", Filter: api.AccountFilter{State: host.Ignored}},
}

// accountSorts are the choices of their order.
var accountSorts = []Option{{"", "The oldest first"}, {"-number", "The newest first"}, {"username", "By name"}, {"-modified", "Changed last"}}

// accountFilter is what chooses accounts of an app. What is looked for stands in
// no address.
type accountFilter struct{ App, State, Sort, Query, Cursor string }

func accountFilterOf(r *http.Request) accountFilter {
	return accountFilter{App: r.PathValue("app"), State: r.FormValue("state"), Sort: r.FormValue("sort"), Cursor: r.FormValue("cursor"), Query: strings.TrimSpace(r.PostFormValue("find"))}
}

// accountsPath is the list of an app's accounts in a state; "" is all.
func accountsPath(app, state string) string {
	return accountFilter{App: app, State: state}.path()
}

// path is the address of the list without what is looked for.
func (f accountFilter) path() string {
	q := url.Values{}
	for name, value := range map[string]string{"state": f.State, "sort": f.Sort, "cursor": f.Cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return pathWith(appPath(f.App, "accounts"), q)
}

func (f accountFilter) with(state string) accountFilter { f.State, f.Cursor = state, ""; return f }
func (f accountFilter) first() accountFilter            { f.Cursor = ""; return f }
func (f accountFilter) at(cursor string) accountFilter  { f.Cursor = cursor; return f }

// chosen is the filter for the service.
func (f accountFilter) chosen() api.AccountFilter {
	chosen := api.AccountFilter{}
	for _, s := range accountStates {
		if s.Key == f.State {
			chosen = s.Filter
		}
	}
	chosen.App, chosen.Query = f.App, f.Query
	chosen.Paging = api.Paging{Sort: f.Sort, Cursor: f.Cursor, Limit: pageRows}
	return chosen
}

// accountList is a page of the accounts of an app.
type accountList struct {
	Filter accountFilter
	App    api.App
	Rows   []*host.UserProvAccount
	People map[string]api.Person
	// Next is the cursor of the page after; "" on the last.
	Next   string
	Total  api.Count
	Manage bool
}

func (c *console) accounts(w http.ResponseWriter, r *http.Request) error {
	list, err := c.accountList(r.Context(), accountFilterOf(r))
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.part(w, r, accountTable(list))
	}
	return c.show(w, r, Page{Title: "User Accounts", Sub: Text("Accounts in " + list.App.Label + ", and whose each is."), Current: "apps",
		Crumbs: []Crumb{{"Apps", Path + "/apps"}, {list.App.Label, appPath(list.App.Name)}, {Label: "User Accounts"}}}, accountsPage(list))
}

func (c *console) accountList(ctx context.Context, f accountFilter) (list accountList, err error) {
	list = accountList{Filter: f, Manage: mayAt(ctx, f.App, access.ViewSetup, access.ManageUsers)}
	if list.App, err = c.Service.App(ctx, f.App); err != nil {
		return list, err
	}
	found, err := c.Service.Accounts(ctx, f.chosen())
	if err != nil {
		return list, err
	}
	list.Rows, list.Next = found.Rows, found.Next
	if list.Total, err = c.Service.CountAccounts(ctx, f.chosen()); err != nil {
		return list, err
	}
	list.People, err = c.peopleOf(ctx, list.Rows...)
	return list, err
}

// peopleOf are the people of accounts and of their candidates, by id.
func (c *console) peopleOf(ctx context.Context, accounts ...*host.UserProvAccount) (map[string]api.Person, error) {
	ids := map[string]bool{}
	for _, a := range accounts {
		ids[a.UserId] = true
		for _, candidate := range a.Candidates {
			ids[candidate.UserId] = true
		}
	}
	delete(ids, "")
	return c.Service.People(ctx, slices.Sorted(maps.Keys(ids)))
}

// exportAccounts sends what the list has chosen, all pages of it, as a file.
func (c *console) exportAccounts(w http.ResponseWriter, r *http.Request) error {
	return api.ServeAccounts(w, r, c.Service, accountFilterOf(r).chosen(), r.PostFormValue("format"))
}

// linkWords say what was done with accounts, by the verb.
var linkWords = map[string]string{"link": "linked", "unlink": "nobody’s", "ignore": "ignored"}

// relink says of the accounts that are ticked whose they are.
func (c *console) relink(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	app := r.PathValue("app")
	to := accountFilterOf(r).path()
	change := api.LinkChange{Verb: r.PostForm.Get("verb"), Accounts: r.PostForm["account"]}
	if len(change.Accounts) == 0 {
		return c.done(w, r, to, Flash{Tone: "warn", Text: "No account was ticked."})
	}
	return c.relinked(w, r, app, to, change)
}

// relinked changes links, and offers to take it back.
func (c *console) relinked(w http.ResponseWriter, r *http.Request, app, to string, change api.LinkChange) error {
	done, err := c.Service.Relink(r.Context(), app, change)
	if err != nil {
		return c.refused(w, r, to, err)
	}
	return c.done(w, r, to, Flash{Tone: "good", Text: count(done.Accounts, "account is ", "accounts are ") + linkWords[change.Verb] + ". Nothing in the app has been changed.",
		Undo: done.Undo, UndoAt: appPath(app, "accounts", "undo"), Back: to})
}

// undoRelink takes a change of links back.
func (c *console) undoRelink(w http.ResponseWriter, r *http.Request) error {
	app := r.PathValue("app")
	to := cmp.Or(ownPath(r.PostFormValue("back")), accountsPath(app, ""))
	n, err := c.Service.UndoRelink(r.Context(), app, r.PostFormValue("undo"))
	if err != nil {
		return c.refused(w, r, to, err)
	}
	return c.done(w, r, to, Flash{Tone: "good", Text: count(n, "account is ", "accounts are ") + "as before."})
}

// ownPath lets only addresses of the console through; "" for others.
func ownPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path != Path && !strings.HasPrefix(u.Path, Path+"/") || strings.Contains(to, `\`) {
		return ""
	}
	return u.String()
}

// userAccountPath is the page of an account, or what stands below it.
func userAccountPath(id string, below ...string) string {
	return strings.Join(append([]string{Path + "/accounts/" + url.PathEscape(id)}, below...), "/")
}

// userAccount is one account: whose it is, what it has, what happened to it.
type userAccount struct {
	*host.UserProvAccount
	App    api.App
	People map[string]api.Person
	Values []comparedValue
	// Requests are those for its user in the app, the newest first.
	Requests []*api.Request
	// Decisions are what people have said of it.
	Decisions []*api.AuditEntry
	Manage    bool
	Look      peopleLookUp
}

// comparedValue is one attribute: what we want it to be, and what the target has.
type comparedValue struct {
	Path, Ours, Theirs string
	// Differs: they are not the same. Unmapped: no rule makes it.
	Differs, Unmapped bool
}

// peopleLookUp is the model's Look Up User: who is found, to link an account to.
type peopleLookUp struct {
	Account, Query string
	Found          []*host.User
	Asked          bool
}

const (
	// mostOfAccount is how many requests and decisions the page of an account shows.
	mostOfAccount = 20
	// mostFound is how many people a look-up shows.
	mostFound = 10
)

func (c *console) account(w http.ResponseWriter, r *http.Request) error {
	p, err := c.userAccount(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.showUserAccount(w, r, p)
}

func (c *console) showUserAccount(w http.ResponseWriter, r *http.Request, p userAccount) error {
	return c.show(w, r, Page{Title: accountTitle(p.UserProvAccount), Sub: accountSub(p), Current: "apps", Actions: accountActions(p),
		Crumbs: []Crumb{{"Apps", Path + "/apps"}, {p.App.Label, appPath(p.App.Name)}, {"User Accounts", accountsPath(p.App.Name, "")}, {Label: p.Name()}}}, accountBody(p))
}

func (c *console) userAccount(ctx context.Context, id string) (p userAccount, err error) {
	if p.UserProvAccount, err = c.Service.Account(ctx, id); err != nil {
		return p, err
	}
	if p.App, err = c.Service.App(ctx, p.AppName); err != nil {
		return p, err
	}
	p.Look.Account, p.Manage = p.Id, mayAt(ctx, p.AppName, access.ViewSetup, access.ManageUsers)
	if p.People, err = c.peopleOf(ctx, p.UserProvAccount); err != nil {
		return p, err
	}
	if p.Values, err = c.compared(ctx, p.UserProvAccount); err != nil {
		return p, err
	}
	if p.UserId != "" {
		found, err := c.Service.Requests(ctx, api.RequestFilter{App: p.AppName, User: p.UserId, Paging: api.Paging{Sort: "-number", Limit: mostOfAccount}})
		if unlessHidden(err) != nil {
			return p, err
		}
		if p.Requests, err = c.named(ctx, found.Rows); err != nil {
			return p, err
		}
	}
	if mayAt(ctx, "", access.ViewAudit) {
		p.Decisions, err = c.Service.AuditEntries(ctx, api.AuditFilter{Kind: "account", Name: p.Name(), Limit: mostOfAccount})
	}
	return p, err
}

// compared are the attributes of an account beside what the mapping makes of its
// user.
func (c *console) compared(ctx context.Context, a *host.UserProvAccount) ([]comparedValue, error) {
	differs := map[string]bool{}
	for _, d := range a.Drift {
		differs[d.Path] = true
	}
	m, err := c.Service.Mapping(ctx, a.AppName, api.MappingTrial{User: a.UserId})
	if code := host.CodeOf(err); code == host.Unavailable || code == host.NotFound { // the app or the user is no more
		m = &api.Mapping{}
	} else if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var list []comparedValue
	for _, rule := range m.Rules {
		if rule.OnCreate || rule.Secret {
			continue
		}
		theirs, _ := pdk.GetPath(a.Attributes, rule.Path)
		v := comparedValue{Path: rule.Path, Theirs: valueText(theirs), Differs: differs[rule.Path]}
		if a.UserId != "" {
			v.Ours = cmp.Or(rule.Problem, valueText(rule.Value))
		}
		list = append(list, v)
		top, _, _ := strings.Cut(rule.Path, ".")
		top, _, _ = strings.Cut(top, "[")
		seen[rule.Path], seen[top] = true, true
	}
	for _, path := range slices.Sorted(maps.Keys(a.Attributes)) {
		if !seen[path] {
			list = append(list, comparedValue{Path: path, Theirs: valueText(a.Attributes[path]), Unmapped: true})
		}
	}
	return list, nil
}

func accountTitle(a *host.UserProvAccount) string {
	return cmp.Or(a.ExternalUsername, a.ExternalUserId, a.Name())
}

// accountRequests are what can be asked for an account, by what its form says.
var accountRequests = map[string]struct {
	Operation host.Operation
	Said      string
}{
	"update":     {host.Update, "The values are sent again: %s."},
	"freeze":     {host.Freeze, "The account is being frozen: %s."},
	"unfreeze":   {host.Unfreeze, "The account is being unfrozen: %s."},
	"deactivate": {host.Deactivate, "The account is being deactivated: %s."},
	"reactivate": {host.Reactivate, "The account is being reactivated: %s."},
	"read":       {host.Read, "The account is read anew: %s."},
}

// accountDo makes a request for an account, or changes whose it is.
func (c *console) accountDo(w http.ResponseWriter, r *http.Request) error {
	ctx, id, do := r.Context(), r.PathValue("id"), r.PathValue("do")
	to := userAccountPath(id)
	if ask, ok := accountRequests[do]; ok {
		request, err := c.Service.RequestForAccount(ctx, id, ask.Operation)
		if err != nil {
			return c.refused(w, r, to, err)
		}
		return c.done(w, r, to, Flash{Tone: "good", Text: fmt.Sprintf(ask.Said, request.Name()), Link: Path + "/requests/" + request.Name(), Label: "Open " + request.Name()})
	}
	if linkWords[do] == "" {
		return host.Errorf(host.NotFound, "nothing called %q can be done with an account", do)
	}
	a, err := c.Service.Account(ctx, id)
	if err != nil {
		return err
	}
	return c.relinked(w, r, a.AppName, to, api.LinkChange{Verb: do, Accounts: []string{a.Id}, User: r.PostFormValue("user")})
}

// accountPeople looks up whose an account may be.
func (c *console) accountPeople(w http.ResponseWriter, r *http.Request) error {
	p, err := c.userAccount(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p.Look.Query = strings.TrimSpace(r.PostFormValue("find"))
	if p.Look.Query != "" {
		found, err := c.Service.Users(r.Context(), api.UserFilter{Query: p.Look.Query, Paging: api.Paging{Limit: mostFound}})
		if err != nil {
			return err
		}
		p.Look.Found, p.Look.Asked = found.Rows, true
	}
	if isPart(r) {
		return c.part(w, r, foundPeople(p.Look))
	}
	return c.showUserAccount(w, r, p)
}
