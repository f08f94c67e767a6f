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
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// requestStates are the choices of states in the list of requests.
var requestStates = []struct {
	Key, Label string
	States     []host.RequestState
	Approval   host.ApprovalStatus
}{
	{Key: "", Label: "All"},
	{Key: "approval", Label: "Wait for approval", Approval: host.ApprovalRequired},
	{Key: "open", Label: "Under way", States: []host.RequestState{host.StateNew, host.StateRequested, host.StateCollecting, host.StateCollected, host.StateAnalyzing, host.StateCommitting}},
	{Key: "review", Label: "Wait for review", States: []host.RequestState{host.StateAnalyzed}},
	{Key: "failed", Label: "Failed", States: []host.RequestState{host.StateFailed}},
	{Key: "completed", Label: "Completed", States: []host.RequestState{host.StateCompleted, host.StateManuallyCompleted}},
	{Key: "ended", Label: "Cancelled or retried", States: []host.RequestState{host.StateCancelled, host.StateRetried}},
}

// requestAges are the choices of how long ago requests may have ended, or been
// made.
var requestAges = []struct {
	Option
	Age time.Duration
}{
	{Option: Option{"", "At any time"}},
	{Option: Option{"hour", "In the last hour"}, Age: time.Hour},
	{Option: Option{"day", "In the last 24 hours"}, Age: 24 * time.Hour},
	{Option: Option{"week", "In the last 7 days"}, Age: 7 * 24 * time.Hour},
	{Option: Option{"month", "In the last 30 days"}, Age: 30 * 24 * time.Hour},
}

// pageRows is how many rows a page of a list has.
const pageRows = 50

// requestList is a page of requests.
type requestList struct {
	Filter requestFilter
	Rows   []*api.Request
	// Next is the address of the page after, "" on the last.
	Next   string
	Labels labels
	// Person is whose requests they are, where only one person's are shown.
	Person api.Person
	// Seen is a digest of what is shown: as long as it is the same, what is live
	// stays as it is.
	Seen string
}

// requestFilter is what the address of the list says. Nothing of it is a
// person's: those are named by id.
type requestFilter struct {
	State, App, Person, Age, Operation string
	Cursor                             string
}

func requestFilterOf(q url.Values) requestFilter {
	return requestFilter{State: q.Get("state"), App: q.Get("app"), Person: q.Get("person"), Age: q.Get("age"), Operation: q.Get("operation"), Cursor: q.Get("cursor")}
}

// path is the address of the list with this filter.
func (f requestFilter) path() string {
	q := url.Values{}
	for name, value := range map[string]string{"state": f.State, "app": f.App, "person": f.Person, "age": f.Age, "operation": f.Operation, "cursor": f.Cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return pathWith(Path+"/requests", q)
}

// with is the first page of the filter with another state.
func (f requestFilter) with(state string) requestFilter {
	f.State, f.Cursor = state, ""
	return f
}

func (f requestFilter) first() requestFilter { f.Cursor = ""; return f }

// isNarrow tells whether something is left out by it.
func (f requestFilter) isNarrow() bool { return f.first() != requestFilter{} }

// chosen is the filter for the service.
func (f requestFilter) chosen(now time.Time) api.RequestFilter {
	chosen := api.RequestFilter{App: f.App, User: f.Person, Operation: host.Operation(f.Operation), Paging: api.Paging{Sort: "-number", Cursor: f.Cursor, Limit: pageRows}}
	for _, s := range requestStates {
		if s.Key == f.State {
			chosen.State, chosen.Approval = s.States, s.Approval
		}
	}
	for _, a := range requestAges {
		if a.Value == f.Age && a.Age > 0 {
			chosen.Since = now.Add(-a.Age)
		}
	}
	return chosen
}

func pathWith(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// requests is the list of requests; for a part only its table, where it has
// changed.
func (c *console) requests(w http.ResponseWriter, r *http.Request) error {
	list, err := c.requestList(r.Context(), requestFilterOf(r.URL.Query()))
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.live(w, r, list.Seen, requestTable(list))
	}
	return c.show(w, r, Page{Title: "Requests", Sub: Text("What Provost does in the apps, for each person and each app; the newest first."), Current: "requests"}, requestsPage(list))
}

func (c *console) requestList(ctx context.Context, f requestFilter) (list requestList, err error) {
	list.Filter = f
	requests, err := c.Service.Requests(ctx, f.chosen(c.Now()))
	if err != nil {
		return list, err
	}
	if requests.Next != "" {
		next := f
		next.Cursor = requests.Next
		list.Next = next.path()
	}
	if list.Rows, err = c.named(ctx, requests.Rows); err != nil {
		return list, err
	}
	list.Seen = seen(requests.Rows)
	if f.Person != "" {
		people, err := c.Service.People(ctx, []string{f.Person})
		if err != nil {
			return list, err
		}
		list.Person = people[f.Person]
	}
	list.Labels, err = c.labels(ctx)
	return list, err
}

// named are requests with the names of people.
func (c *console) named(ctx context.Context, list []*host.UserProvisioningRequest) ([]*api.Request, error) {
	shown := make([]*api.Request, len(list))
	for i, r := range list {
		shown[i] = api.Named(r)
	}
	return shown, api.NamePeople(ctx, c.Service, shown...)
}

// labels are what apps are called, by name, in their order.
type labels []Option

// labels are those of the apps that who looks may see.
func (c *console) labels(ctx context.Context) (labels, error) {
	if !may(ctx, access.ViewSetup) {
		return nil, nil
	}
	apps, err := c.Service.AppLabels(ctx)
	list := make(labels, len(apps))
	for i, a := range apps {
		list[i] = Option{a.Name, a.Label}
	}
	return list, err
}

// of is what an app is called; its name where that is all that one may know.
func (l labels) of(app string) string {
	for _, o := range l {
		if o.Value == app {
			return o.Label
		}
	}
	return app
}

// orAll are the apps to choose from, or all of them.
func (l labels) orAll() []Option { return append([]Option{{"", "All apps"}}, l...) }

// whatIsAsked says in one sentence what a request does.
func whatIsAsked(r *api.Request, app string) string {
	if r.Operation == host.Reconcile {
		return "Reconcile " + app
	}
	return string(r.Operation) + " " + whose(r) + " in " + app
}

// whose is whom a request is for.
func whose(r *api.Request) string {
	return cmp.Or(r.DisplayName, r.Username, r.ExternalUserId, "an account of nobody")
}

// requestPage is one request, with what happened to it.
type requestPage struct {
	*api.Request
	Logs []*host.UserProvisioningLog
	// Sent are the attributes, with the rule that made each.
	Sent []sentAttribute
	// App is what the app is called; Parent the request that it tries again,
	// Successor the one that tries it again.
	App    string
	Parent *api.Request
	Seen   string
	MayDo  actions
}

// actions are what may be done with a request, as it is and by who looks.
type actions struct{ Retry, Again, Cancel, Complete, Decide bool }

// sentAttribute is one attribute of a request.
type sentAttribute struct{ Path, From, Value string }

func (c *console) request(w http.ResponseWriter, r *http.Request) error {
	p, err := c.requestOf(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.live(w, r, p.Seen, requestLive(p))
	}
	return c.show(w, r, p.page(), requestBody(p))
}

func (p requestPage) page() Page {
	return Page{Title: whatIsAsked(p.Request, p.App), Sub: requestSub(p), Current: "requests", Actions: requestActions(p),
		Crumbs: []Crumb{{"Requests", Path + "/requests"}, {Label: p.Name}}}
}

func (c *console) requestOf(ctx context.Context, name string) (p requestPage, err error) {
	r, logs, err := c.Service.Request(ctx, name)
	if err != nil {
		return p, err
	}
	named, err := c.named(ctx, []*host.UserProvisioningRequest{r})
	if err != nil {
		return p, err
	}
	p = requestPage{Request: named[0], Logs: logs, App: r.AppName, Seen: seen(r, logs), MayDo: actionsFor(ctx, r)}
	apps, err := c.labels(ctx)
	p.App = apps.of(r.AppName)
	if err == nil && r.ParentId != "" {
		if parent, _, parentErr := c.Service.Request(ctx, r.ParentId); parentErr == nil { // it may have been pruned
			p.Parent = api.Named(parent)
		}
	}
	p.Sent = c.sent(ctx, r)
	return p, err
}

// replayPage is a request as a test for the author of its connector.
type replayPage struct {
	*api.Request
	api.Replay
	Again bool
}

func (c *console) replay(w http.ResponseWriter, r *http.Request) error {
	p, err := c.requestOf(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	page := replayPage{p.Request, api.ReplayOf(p.UserProvisioningRequest, p.Logs), p.MayDo.Again}
	return c.show(w, r, Page{Title: p.Name + " as a test", Sub: Text("For the author of the connector: it is called as it was, and a target answers as it did."), Current: "requests",
		Crumbs: []Crumb{{"Requests", Path + "/requests"}, {p.Name, requestPath(p.Request)}, {Label: "As a test"}}}, replayBody(page))
}

// traced tells whether an attempt at the request was recorded.
func (p requestPage) traced() bool {
	return slices.ContainsFunc(p.Logs, func(l *host.UserProvisioningLog) bool { return l.Trace != nil })
}

// actionsFor says what may be done with a request.
func actionsFor(ctx context.Context, r *host.UserProvisioningRequest) actions {
	manage := mayAt(ctx, r.AppName, access.ViewSetup, access.ManageUsers)
	waits := r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired
	return actions{
		Retry:    manage && r.State == host.StateFailed,
		Again:    manage && r.State.Ended() && r.State != host.StateFailed && r.State != host.StateRetried && r.Operation != host.Reconcile && r.UserId != "",
		Cancel:   manage && r.State.MayBecome(host.StateCancelled),
		Complete: manage && r.State.MayBecome(host.StateManuallyCompleted) && r.Operation != host.Reconcile,
		Decide:   waits && may(ctx, access.ApproveRequests),
	}
}

// sent are the attributes of a request with the rules that the app has now.
func (c *console) sent(ctx context.Context, r *host.UserProvisioningRequest) []sentAttribute {
	if len(r.Attributes) == 0 {
		return nil
	}
	from := map[string]string{}
	if m, err := c.Service.Mapping(ctx, r.AppName, api.MappingTrial{}); err == nil { // an app that is no more has no rules
		for _, rule := range m.Rules {
			from[rule.Path] = rule.Expression
		}
	}
	var list []sentAttribute
	for path, v := range leaves("", r.Attributes) {
		if r.Operation == host.Update && len(r.ChangedAttributes) > 0 && !slices.Contains(r.ChangedAttributes, path) {
			continue
		}
		list = append(list, sentAttribute{path, from[path], valueText(v)})
	}
	slices.SortFunc(list, func(a, b sentAttribute) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// leaves are the values of attributes by their paths, as rules name them:
// name.givenName, emails[work].value.
func leaves(path string, v any) map[string]any {
	all := map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			maps.Copy(all, leaves(strings.TrimPrefix(path+"."+name, "."), one))
		}
	case []any:
		for i, one := range v {
			of, isMap := one.(map[string]any)
			if !isMap {
				return map[string]any{path: v}
			}
			kind, _ := of["type"].(string)
			of = maps.Clone(of)
			delete(of, "type")
			maps.Copy(all, leaves(path+"["+cmp.Or(kind, itoa(i))+"]", of))
		}
	default:
		all[path] = v
	}
	return all
}

// valueText is a value of an attribute as a person reads it.
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return v
	case []any:
		words := make([]string, len(v))
		for i, one := range v {
			words[i] = valueText(one)
		}
		return listed(words)
	case map[string]any:
		words := make([]string, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			words = append(words, name+" "+valueText(v[name]))
		}
		return listed(words)
	default:
		return fmt.Sprint(v)
	}
}

// act does something with a request that the path names, and goes back to where
// it was pressed.
func (c *console) act(done string, do func(ctx context.Context, id, note string) (*host.UserProvisioningRequest, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		to := backOf(r, Path+"/requests/"+url.PathEscape(name))
		result, err := do(r.Context(), name, r.PostFormValue("note"))
		if err != nil {
			return c.refused(w, r, to, err)
		}
		f := Flash{Tone: "good", Text: fmt.Sprintf(done, name)}
		if result.Name() != name {
			f.Text = fmt.Sprintf(done, name) + " The new request is " + result.Name() + "."
			f.Link, f.Label = Path+"/requests/"+result.Name(), "Open "+result.Name()
		}
		return c.done(w, r, to, f)
	}
}

// backs are where a form may lead back to, by what its field back says.
var backs = map[string]string{"home": Path, "approvals": Path + "/approvals"}

// backOf is where the form of r says that it was pressed, else otherwise.
func backOf(r *http.Request, otherwise string) string {
	return cmp.Or(backs[r.PostFormValue("back")], otherwise)
}

// againText says what it means to run a request again.
func (p requestPage) againText() string {
	return "A new request is made with the values of now, and goes its way as this one did, with approval where the app asks for it. An account that is there is not made twice: its values are sent again. What is sent and answered is kept in the trace of the new one."
}
