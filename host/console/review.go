package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// The review of a run that has been analyzed: what it has found, whose each
// account is, and what a person says of it. It stands on the page of the run and
// at the end of the wizard.

// reviewView is a part of what a run has found.
type reviewView struct {
	Run *host.UserProvisioningRequest
	// App is the app's label.
	App string
	// Show is which part; Query what was looked for.
	Show, Query string
	Rows        []*api.Staged
	Gone        []*host.UserProvAccount
	Missing     []*host.User
	Following   *api.Following
	// Op is of which operation only, "" for all, and Policy what the app allows; only
	// with Show "following".
	Op     host.Operation
	Policy host.ReconcilePolicy
	// At is the page that the review stands on, Next the address of the page after,
	// "" for none; First of the first.
	At, Next, First string
	// May: who looks may decide.
	May bool
}

// reviewParts are what can be shown of a run, with how many there are.
var reviewParts = []struct{ Show, Label, Count string }{
	{"all", "All", ""}, {"decide", "Needs a decision", "undecided"}, {"linked", "Linked", "linked"}, {"duplicate", "Duplicate", "duplicate"},
	{"orphaned", "Orphaned", "orphaned"}, {"ignored", "Ignored", "ignored"}, {"differs", "Differs", "drifted"}, {"gone", "Gone", "gone"}, {"missing", "No account yet", "missing"},
}

// reviewRows are on a page.
const reviewRows = 50

// review finds a part of what a run has found. Of the address of r it takes which
// part, and the page of it; of its form what is looked for.
func (c *console) review(r *http.Request, run *host.UserProvisioningRequest, app, at string) (v reviewView, err error) {
	ctx := r.Context()
	v = reviewView{Run: run, App: app, At: at, Show: r.URL.Query().Get("show"), Query: strings.TrimSpace(r.PostFormValue("find")), May: mayAt(ctx, run.AppName, access.ViewSetup, access.ManageUsers)}
	if v.Show == "" {
		v.Show = "all"
		if run.Summary["undecided"] > 0 || run.Summary[string(host.Duplicate)] > 0 {
			v.Show = "decide"
		}
	}
	if v.Query != "" {
		v.Show = "all"
	}
	after := r.URL.Query().Get("after")
	number, _ := strconv.ParseInt(after, 10, 64) // 0 where it is none: the first page
	if after != "" {
		v.First = v.partPath(v.Show)
	}
	next := ""
	switch v.Show {
	case "gone":
		v.Gone, err = c.Service.Gone(ctx, run.Id, number, reviewRows)
		if n := len(v.Gone); n == reviewRows {
			next = strconv.FormatInt(v.Gone[n-1].Number, 10)
		}
	case "missing":
		v.Missing, err = c.Service.Missing(ctx, run.Id, false, after, reviewRows)
		if n := len(v.Missing); n == reviewRows {
			next = v.Missing[n-1].Id
		}
	case "following":
		if op := host.Operation(r.URL.Query().Get("operation")); slices.Contains(followingOps, op) {
			v.Op = op
		}
		if after != "" {
			v.First = v.followingPath(v.Op)
		}
		one, err := c.Service.App(ctx, run.AppName)
		if err != nil {
			return v, err
		}
		if v.Following, err = c.Service.Following(ctx, run.Id, v.Op, after, reviewRows); err != nil {
			return v, err
		}
		v.Policy, next = one.Config.Reconcile, v.Following.After
	default:
		v.Rows, err = c.staged(ctx, run.Id, v.Show, v.Query, number)
		if n := len(v.Rows); n == reviewRows {
			next = strconv.FormatInt(v.Rows[n-1].AfterNumber, 10)
		}
	}
	if next != "" && v.Query == "" {
		v.Next = v.partPath(v.Show) + "&after=" + url.QueryEscape(next)
		if v.Show == "following" {
			v.Next = v.followingPath(v.Op) + "&after=" + url.QueryEscape(next)
		}
	}
	return v, err
}

func (c *console) staged(ctx context.Context, id, show, query string, after int64) ([]*api.Staged, error) {
	f := api.StagedFilter{Query: query, After: after, Limit: reviewRows}
	switch show {
	case "decide":
		f.Candidates = true
	case "differs":
		f.Drifted = true
	case "all":
	default:
		f.State = host.LinkState(show)
	}
	rows, err := c.Service.Staged(ctx, id, f)
	if err != nil || show != "decide" || len(rows) == reviewRows || after != 0 {
		return rows, err
	}
	f.Candidates, f.State, f.Limit = false, host.Duplicate, reviewRows-len(rows) // they need a decision too
	more, err := c.Service.Staged(ctx, id, f)
	for _, one := range more {
		if !slices.ContainsFunc(rows, func(r *api.Staged) bool { return r.ExternalUserId == one.ExternalUserId }) {
			rows = append(rows, one)
		}
	}
	return rows, err
}

func (v reviewView) partPath(show string) string { return v.At + "?show=" + show }

// followingOps are what may follow for an account.
var followingOps = []host.Operation{host.Create, host.Update, host.Deactivate, host.Delete}

// mayFollow tells whether an operation is one that a policy has.
func mayFollow(p host.ReconcilePolicy, op host.Operation) bool {
	switch op {
	case host.Create:
		return p.Missing == "create"
	case host.Update:
		return p.Drift == "update"
	default:
		word := lower(string(op))
		return p.Orphaned == word || p.Unassigned == word
	}
}

// followingPath leads to what would follow, only of an operation where that is not
// "".
func (v reviewView) followingPath(op host.Operation) string {
	path := v.partPath("following")
	if op != "" {
		path += "&operation=" + url.QueryEscape(string(op))
	}
	return path
}

// nothingFollows says why the page of what would follow is empty.
func (v reviewView) nothingFollows() (title, text string) {
	switch {
	case v.Next != "":
		return "Nothing follows for these", "Many accounts are as they should be. Others come on the next page."
	case v.Op != "":
		return "None would be " + strings.TrimSuffix(lower(string(v.Op)), "e") + "ed", "Choose another change above, or all of them."
	default:
		return "Nothing would follow", "Each account is as it should be, or the reconciling does nothing about it."
	}
}

func (v reviewView) runPath(action string) string {
	return Path + "/runs/" + url.PathEscape(v.Run.Name()) + "/" + action
}

// count is how many there are of a part.
func (v reviewView) count(key string) int64 {
	if key != "" {
		n := v.Run.Summary[key]
		if key == "undecided" {
			n = v.Run.Summary["undecided"] + v.Run.Summary[string(host.Duplicate)]
		}
		return n
	}
	return v.Run.ReconFound
}

// progress is how far a run has come.
type progress struct {
	Run *host.UserProvisioningRequest
	// Rate is so many a second; Left is how long it goes on, 0 where nobody knows.
	Rate float64
	Left time.Duration
}

func progressOf(r *host.UserProvisioningRequest, now time.Time) progress {
	p := progress{Run: r}
	if r.StartedDate == nil || r.State != host.StateCollecting {
		return p
	}
	elapsed := now.Sub(*r.StartedDate).Seconds()
	if elapsed < 0.2 || r.ReconFound == 0 {
		return p
	}
	p.Rate = float64(r.ReconFound) / elapsed
	if rest := r.TotalEstimate - r.ReconFound; rest > 0 {
		p.Left = time.Duration(float64(rest) / p.Rate * float64(time.Second))
	}
	return p
}

// text is where a run is, in a sentence.
func (p progress) text() string {
	r := p.Run
	switch r.State {
	case host.StateNew:
		return "It is about to begin."
	case host.StateCollecting:
		out := count(r.ReconFound, "account", "") + " collected"
		if r.TotalEstimate > 0 {
			out = number(r.ReconFound) + " of about " + number(r.TotalEstimate) + " accounts collected"
		}
		if p.Rate >= 1 {
			out += fmt.Sprintf(", %s a second", number(int64(p.Rate)))
		}
		if p.Left > 0 {
			out += ", " + age(p.Left) + " left"
		}
		return out + "."
	case host.StateCollected, host.StateAnalyzing:
		return "All " + count(r.ReconFound, "account", "") + " collected. They are compared with the people."
	case host.StateCommitting:
		return "The links are stored."
	default:
		return capital(string(r.State)) + "."
	}
}

// whole is how much of it all there is, 0 where nobody knows.
func (p progress) whole() int64 {
	if p.Run.State == host.StateCollecting {
		return p.Run.TotalEstimate
	}
	return p.Run.ReconFound
}

// reviewPages are the actions of a review.
func (c *console) reviewPages() map[string]handler {
	return map[string]handler{
		"POST " + Path + "/runs/{name}/decide": c.reviewDecide,
		"POST " + Path + "/runs/{name}/undo":   c.reviewUndo,
		"POST " + Path + "/runs/{name}/find":   c.reviewFind,
		"POST " + Path + "/runs/{name}/people": c.reviewPeople,
	}
}

// back is the page that something was pressed on, one of the console's.
func back(r *http.Request, otherwise string) string {
	at := r.PostFormValue("back")
	u, err := url.Parse(at)
	if err != nil || u.Host != "" || u.Scheme != "" || u.Path != Path && !strings.HasPrefix(u.Path, Path+"/") || strings.Contains(at, "\\") {
		return otherwise
	}
	return u.String()
}

// reviewDecide notes what a person says of accounts of a run. What was pressed
// is do: a verb for all that are ticked, or of one row, with the user to link.
func (c *console) reviewDecide(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	name := r.PathValue("name")
	verb, rest, one := strings.Cut(r.PostForm.Get("do"), ":")
	d := api.Decision{Verb: verb, Accounts: r.PostForm["account"]}
	if one {
		at, user, _ := strings.Cut(rest, ":")
		i, err := strconv.Atoi(at)
		rows := r.PostForm["row"]
		if err != nil || i < 0 || i >= len(rows) {
			return host.Errorf(host.InvalidInput, "no row was pressed")
		}
		d.Accounts, d.User = []string{rows[i]}, user
	}
	to := back(r, Path+"/runs/"+url.PathEscape(name))
	if len(d.Accounts) == 0 {
		return c.done(w, r, to, Flash{Tone: "warn", Text: "No account was ticked."})
	}
	got, err := c.Service.Decide(r.Context(), name, d)
	if err != nil {
		return c.refused(w, r, to, err)
	}
	words := map[string]string{"link": "linked", "unlink": "linked to nobody", "ignore": "ignored"}
	return c.done(w, r, to, Flash{Tone: "good", Text: count(got.Accounts, "account is ", "accounts are ") + words[verb] + " in this run. Nothing in the app has been changed.",
		Undo: got.Undo, UndoAt: runPath(name, "undo"), Back: to})
}

// reviewUndo takes what a person said back.
func (c *console) reviewUndo(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	to := back(r, runPath(name))
	got, err := c.Service.UndoDecide(r.Context(), name, r.PostFormValue("undo"))
	if err != nil {
		return c.refused(w, r, to, err)
	}
	return c.done(w, r, to, Flash{Tone: "good", Text: count(got.Accounts, "account is ", "accounts are ") + "as the run had it."})
}

// reviewFind looks for accounts of a run.
func (c *console) reviewFind(w http.ResponseWriter, r *http.Request) error {
	run, _, err := c.Service.Request(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	v, err := c.review(r, run, run.AppName, back(r, Path+"/runs/"+url.PathEscape(run.Name())))
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.part(w, r, reviewTable(v))
	}
	return c.show(w, r, Page{Title: "What " + run.Name() + " has found", Current: "runs", Crumbs: []Crumb{{"Runs", Path + "/runs"}, {run.Name(), v.At}}}, reviewTable(v))
}

// people who are found for an account, to link it to one of them.
type lookUp struct {
	reviewView
	// Account is the row's, Row its number.
	Account, Query string
	Found          []*host.User
	Asked          bool
}

// reviewPeople is the model's Look Up User: it finds whom an account may belong
// to.
func (c *console) reviewPeople(w http.ResponseWriter, r *http.Request) error {
	run, _, err := c.Service.Request(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	at := back(r, Path+"/runs/"+url.PathEscape(run.Name()))
	l := lookUp{reviewView: reviewView{Run: run, App: run.AppName, At: at, May: true}, Account: r.PostFormValue("of"), Query: strings.TrimSpace(r.PostFormValue("who"))}
	if l.Query != "" {
		l.Asked = true
		list, err := c.Service.Users(r.Context(), api.UserFilter{Query: l.Query, Paging: api.Paging{Limit: 10}})
		if err != nil {
			return err
		}
		l.Found = list.Rows
	}
	switch {
	case isPart(r) && r.PostForm.Has("who"):
		return c.part(w, r, lookUpMatches(l))
	case isPart(r):
		return c.part(w, r, lookUpPeople(l))
	}
	return c.show(w, r, Page{Title: "Look up a person", Current: "runs", Crumbs: []Crumb{{"Runs", Path + "/runs"}, {run.Name(), at}}}, lookUpPeople(l))
}

// score is how alike two are.
func score(s float64) string { return percent(s) }

// candidateName is what a candidate is called.
func candidateName(c host.Candidate) string {
	if c.Username != "" {
		return c.Username
	}
	return shortID(c.UserId)
}

func stagedName(a *api.Staged) string {
	if a.ExternalUsername != "" {
		return a.ExternalUsername
	}
	return a.ExternalUserId
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func toneOfOperation(op host.Operation) string {
	switch op {
	case host.Create:
		return "good"
	case host.Deactivate, host.Freeze, host.Delete:
		return "warn"
	default:
		return "info"
	}
}

func progressTitle(p progress) string {
	switch p.Run.State {
	case host.StateCommitting:
		return "Committing"
	case host.StateAnalyzing, host.StateCollected:
		return "Analyzing"
	default:
		return "Collecting"
	}
}
