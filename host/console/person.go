package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// people is a page of people. What is searched for is posted, and so is the way
// to the next page: neither stands in an address.
type people struct {
	Query, Active string
	Rows          []*host.User
	// Next is the cursor of the page after, Later that this is not the first.
	Next  string
	Later bool
}

// none: there is nobody at all.
func (p people) none() bool { return len(p.Rows) == 0 && p.Query == "" && p.Active == "" && !p.Later }

// activeOptions are the choices of people by whether they are active.
var activeOptions = []Option{{"", "Everybody"}, {"true", "Active"}, {"false", "Inactive"}}

func (c *console) people(w http.ResponseWriter, r *http.Request) error {
	found, err := c.find(r.Context(), "", "", "")
	if err != nil {
		return err
	}
	return c.showPeople(w, r, found)
}

// found answers a search.
func (c *console) found(w http.ResponseWriter, r *http.Request) error {
	found, err := c.find(r.Context(), r.PostFormValue("q"), r.PostFormValue("active"), r.PostFormValue("cursor"))
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.part(w, r, peopleTable(found))
	}
	return c.showPeople(w, r, found)
}

// peopleImportRoute takes a file of people.
const peopleImportRoute = "POST " + Path + "/people/import"

// importPeople imports a file of people: all of it, or nothing of it.
func (c *console) importPeople(w http.ResponseWriter, r *http.Request) error {
	parts, err := r.MultipartReader()
	if err != nil {
		return host.Errorf(host.InvalidInput, "the form can't be read: %v", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return c.refused(w, r, Path+"/people", &host.Error{Code: host.InvalidInput, Message: "no file was chosen"})
		}
		if err != nil {
			return err
		}
		if part.FormName() != "file" || part.FileName() == "" {
			continue
		}
		name := filepath.Base(part.FileName())
		done, err := c.Service.ImportUsers(r.Context(), part, api.ImportOptions{Name: name, Format: formatOf(name)}, nil)
		if err != nil {
			return c.refused(w, r, Path+"/people", importProblem(err, done))
		}
		return c.done(w, r, Path+"/people", Flash{Tone: "good", Text: importedText(done)})
	}
}

// formatOf is the format of a file of people by its name; CSV where it says none.
func formatOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return "json"
	case ".jsonl", ".ndjson":
		return "jsonl"
	default:
		return "csv"
	}
}

// mostWrong is how many rows that are wrong are told of.
const mostWrong = 3

// importProblem says why nobody was imported, with the first rows that are wrong.
func importProblem(err error, done api.ImportResult) error {
	if len(done.Errors) == 0 {
		return err
	}
	text := count(done.Refused, "row is wrong", "rows are wrong") + ", so nobody was imported. " + strings.Join(done.Errors[:min(len(done.Errors), mostWrong)], "; ")
	return &host.Error{Code: host.CodeOf(err), Message: text}
}

// importedText says what an import did.
func importedText(done api.ImportResult) string {
	text := fmt.Sprintf("%s came in, %s updated, %s as before.", count(done.Created, "person", "people"), number(done.Updated), number(done.Unchanged))
	if done.Requests > 0 {
		text += " " + count(done.Requests, "request was", "requests were") + " made of it."
	}
	return text
}

func (c *console) showPeople(w http.ResponseWriter, r *http.Request, found people) error {
	return c.show(w, r, Page{Title: "People", Sub: Text("Those whom Provost gives accounts in the apps."), Current: "people"}, peoplePage(found))
}

func (c *console) find(ctx context.Context, query, active, cursor string) (people, error) {
	f := api.UserFilter{Query: query, Paging: api.Paging{Sort: "username", Cursor: cursor, Limit: pageRows}}
	if active == "true" || active == "false" {
		is := active == "true"
		f.Active = &is
	}
	list, err := c.Service.Users(ctx, f)
	return people{Query: query, Active: active, Rows: list.Rows, Next: list.Next, Later: cursor != ""}, err
}

// person is one of the people, with all that they have.
type person struct {
	*host.User
	Manager  api.Person
	Has      api.Memberships
	Apps     []personApp
	Requests []*api.Request
	Labels   labels
	// Free are the apps that the person could be assigned.
	Free   []Option
	Manage bool
}

// personApp is an app that a person has, or has an account in.
type personApp struct {
	Name, Label string
	By          []string
	Account     *host.UserProvAccount
	// Assigned: it was given to the person directly.
	Assigned bool
}

// mostOfPerson are the requests that are shown of a person, and the accounts.
const mostOfPerson = 15

func (c *console) person(w http.ResponseWriter, r *http.Request) error {
	p, err := c.personOf(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.show(w, r, Page{Title: p.DisplayName(), Sub: personSub(p), Current: "people", Actions: personActions(p),
		Crumbs: []Crumb{{"People", Path + "/people"}, {Label: p.DisplayName()}}}, personPage(p))
}

func (c *console) personOf(ctx context.Context, id string) (p person, err error) {
	if p.User, err = c.Service.User(ctx, id); err != nil {
		return p, err
	}
	p.Manage = mayAt(ctx, "", access.ViewSetup, access.ManageUsers)
	if p.Has, err = c.Service.Memberships(ctx, p.Id); err != nil {
		return p, err
	}
	accounts, err := c.Service.Accounts(ctx, api.AccountFilter{User: p.Id, Paging: api.Paging{Limit: 100}})
	if err != nil {
		return p, err
	}
	if p.Labels, err = c.labels(ctx); err != nil {
		return p, err
	}
	p.join(accounts.Rows)
	requests, err := c.Service.Requests(ctx, api.RequestFilter{User: p.Id, Paging: api.Paging{Sort: "-number", Limit: mostOfPerson}})
	if err != nil {
		return p, err
	}
	if p.Requests, err = c.named(ctx, requests.Rows); err != nil {
		return p, err
	}
	if p.ManagerId != "" {
		known, err := c.Service.People(ctx, []string{p.ManagerId})
		if err != nil {
			return p, err
		}
		p.Manager = known[p.ManagerId]
	}
	return p, nil
}

// join makes one list of the apps that a person has and of the accounts, in the
// order of the apps.
func (p *person) join(accounts []*host.UserProvAccount) {
	for _, o := range p.Labels {
		one := personApp{Name: o.Value, Label: o.Label}
		for _, g := range p.Has.Apps {
			if g.App == o.Value {
				one.By, one.Assigned = g.By, slices.Contains(g.By, "assignment")
			}
		}
		had := false
		for _, a := range accounts {
			if a.AppName == o.Value {
				more := one
				more.Account = a
				p.Apps, had = append(p.Apps, more), true
			}
		}
		if !had && len(one.By) > 0 {
			p.Apps = append(p.Apps, one)
		}
		if !one.Assigned {
			p.Free = append(p.Free, o)
		}
	}
}

// accountWord is how an account of a person is, in a word and its tone.
func accountWord(a *host.UserProvAccount) (tone, word string) {
	switch {
	case a == nil:
		return "info", "No account yet"
	case a.DeletedDate != nil:
		return "plain", "Deleted"
	case a.LinkState != host.Linked:
		return toneOfLink(a.LinkState), capital(string(a.LinkState))
	case a.Frozen:
		return "warn", "Frozen"
	case !a.Active:
		return "plain", "Inactive"
	case len(a.Drift) > 0:
		return "info", "Differs"
	default:
		return "good", "Active"
	}
}

// facts are what is known of a person, for a list.
func (p person) facts() [][2]string {
	list := [][2]string{{"Username", p.Username}, {"E-mail", p.Email}, {"Title", p.Title}, {"Department", p.Department}, {"Employee number", p.EmployeeNumber}, {"Profile", p.Has.Profile}}
	if len(p.Has.PermissionSets) > 0 {
		list = append(list, [2]string{"Permission sets", listed(p.Has.PermissionSets)})
	}
	if len(p.Has.Groups) > 0 {
		list = append(list, [2]string{"Approves for", listed(p.Has.Groups)})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Custom)) {
		list = append(list, [2]string{name, valueText(p.Custom[name])})
	}
	return slices.DeleteFunc(list, func(f [2]string) bool { return f[1] == "" })
}

// change is what making a person active, or inactive, would bring.
type change struct {
	*host.User
	Activate bool
	Changes  []*host.PlannedChange
	// Of are the requests of the changes.
	Of     []*host.UserProvisioningRequest
	Labels labels
}

// verb is what is done to the person.
func (c change) verb() string {
	if c.Activate {
		return "Activate"
	}
	return "Deactivate"
}

// apps counts those in which something is done.
func (c change) apps() int {
	names := map[string]bool{}
	for _, r := range c.Of {
		names[r.AppName] = true
	}
	return len(names)
}

// yes is what the button says.
func (c change) yes() string {
	if c.apps() == 0 {
		return c.verb() + " " + c.DisplayName()
	}
	return c.verb() + " " + c.DisplayName() + " in " + count(c.apps(), "app", "")
}

// whatFollows shows what would follow if a person became active or inactive, and
// asks whether that is meant.
func (c *console) whatFollows(activate bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		run := &host.DryRun{}
		u, err := c.setActive(host.WithDryRun(ctx, run), r.PathValue("id"), activate)
		if err != nil {
			return err
		}
		ch := change{User: u, Activate: activate}
		ch.Of, _ = run.Requests()
		if ch.Changes, err = c.Service.WouldChange(ctx, ch.Of); err != nil {
			return err
		}
		if ch.Labels, err = c.labels(ctx); err != nil {
			return err
		}
		return c.show(w, r, Page{Title: ch.verb() + " " + u.DisplayName() + "?", Current: "people", Sub: Text("Nothing has happened yet. This is what will."),
			Crumbs: []Crumb{{"People", Path + "/people"}, {u.DisplayName(), Path + "/people/" + u.Id}, {Label: ch.verb()}}}, changePage(ch))
	}
}

// follow makes a person active or inactive.
func (c *console) follow(activate bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		to := Path + "/people/" + url.PathEscape(r.PathValue("id"))
		if _, err := c.setActive(r.Context(), r.PathValue("id"), activate); err != nil {
			return c.refused(w, r, to, err)
		}
		text := "This person is inactive now. What follows in the apps is under way; it is listed below."
		if activate {
			text = "This person is active now. What follows in the apps is under way; it is listed below."
		}
		return c.done(w, r, to, Flash{Tone: "good", Text: text})
	}
}

func (c *console) setActive(ctx context.Context, id string, active bool) (*host.User, error) {
	u, err := c.Service.User(ctx, id)
	if err != nil {
		return nil, err
	}
	changed := *u
	changed.IsActive = active
	if _, err := c.Service.PutUser(ctx, &changed); err != nil {
		return nil, err
	}
	return u, nil
}

// assign gives a person an app, or takes it back.
func (c *console) assign(done string, do func(ctx context.Context, user, app string) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		app, to := r.PostFormValue("app"), Path+"/people/"+url.PathEscape(r.PathValue("id"))
		if !access.At(r.Context(), app) {
			return host.Errorf(host.PermissionDenied, "the app %s is not one of yours", cmp.Or(app, "(none)"))
		}
		if err := do(r.Context(), r.PathValue("id"), app); err != nil {
			return c.refused(w, r, to, err)
		}
		return c.done(w, r, to, Flash{Tone: "good", Text: done})
	}
}
