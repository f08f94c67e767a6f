// Package api is the host's HTTP API, /api/v1, described at /api/openapi.json.
// It turns HTTP into calls of a [Service] and errors into problem documents
// (RFC 9457); it knows the domain and no engine, store or connector.
package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/provosthq/provost/host"
)

type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &body[T]{v}, nil
}

// listed is answer of a list, which is never null.
func listed[T any](list []T, err error) (*body[[]T], error) {
	if list == nil {
		list = []T{}
	}
	return answer(list, err)
}

// routes is a mux that knows what it was given, and what is said of it.
type routes struct {
	http.ServeMux
	patterns []string
	doc      *huma.OpenAPI
}

// HandleFunc notes the pattern, too.
func (r *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, handler)
}

// Handler serves the API of s to the subject of each request's context
// ([access.WithSubject]), as far as [Rules] allow and [Scoped] shows.
func Handler(s Service, o Options) http.Handler {
	s = Scoped(s)
	mux := handlers(s, o)
	h := Rules.Guard(wellFormed(operations(mux.doc), idempotent(s, dryRun(s, represented(mux)))), refuse)
	return called(o.Logger, mux, compressed(newLimiter(o).limited(withActor(h))))
}

// handlers serves each route to whoever asks.
func handlers(s Service, o Options) *routes {
	mux := new(routes)
	config := huma.DefaultConfig("Provost", o.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "/api/openapi", "", "/api/schemas"
	config.CreateHooks = nil // no $schema member in every answer
	config.OnAddOperation = append(config.OnAddOperation, describe)
	a := humago.New(mux, config)
	document(a.OpenAPI())
	problems(a)
	users(a, s)
	apps(a, s)
	connectors(a, s)
	requests(a, s)
	accounts(a, s)
	mappings(a, s)
	targets(a, s)
	plans(a, s)
	approvals(a, s)
	retention(a, s)
	reviews(a, s)
	effects(a, s)
	credentials(a, s)
	notices(a, s)
	audit(a, s)
	checks(a, s)
	settingRoutes(a, s)
	objects(a, s)
	runs(a, s)
	logs(a, s)
	accessRoutes(a, s)
	activity(a, s)
	links(a, s)
	measures(a, s)
	wizards(a, s)
	byHand(a, mux, s, o)
	mux.doc = a.OpenAPI()
	return mux
}

func apps(a huma.API, s Service) {
	type none struct{}
	huma.Get(a, "/api/v1/status", func(ctx context.Context, _ *none) (*body[Status], error) { return answer(s.Status(ctx)) })
	huma.Get(a, "/api/v1/apps", func(ctx context.Context, _ *none) (*body[[]App], error) { return listed(s.Apps(ctx)) })
	huma.Post(a, "/api/v1/apps/{app}/reconcile", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body ReconcileOptions
	}) (*body[*Request], error) {
		r, err := s.Reconcile(ctx, in.App, in.Body)
		return answer(named(r), err)
	})
}

// byHand are the routes that stream, and the documentation.
func byHand(a huma.API, mux *routes, s Service, o Options) {
	handle := func(pattern, answer, body string, h http.HandlerFunc, params ...*huma.Param) {
		raw(a, pattern, answer, body, params...)
		mux.HandleFunc(pattern, h)
	}
	name, format := param("name", "The file's name, for messages"), choice("format", "Without it, by the name", "csv", "json", "jsonl", "ndjson")
	handle("POST /api/v1/users/import", "application/jsonl", "application/octet-stream", importUsers(s), name, format, param("key", "The member that tells who is who; Username without it"),
		boolean("prune", "Users whom the file does not have are disabled"), boolean("keep_going", "The good rows are taken"), several("assign", "An app that each is assigned; more than one by giving it again"))
	handle("POST /api/v1/apps/{app}/accounts/import", "application/json", "application/octet-stream", importAccounts(s), name, format, boolean("commit", "Without a review"))
	handle("GET /api/v1/apps/{app}/accounts/export", "text/csv application/jsonl", "", exportAccounts(s), choice("format", "csv without it", "csv", "jsonl"), choice("state", "Only these", "linked", "duplicate", "orphaned", "ignored"),
		boolean("drifted", "Only those"), boolean("undecided", "Only those that a person must decide about"), param("query", "Beginnings of words of an id, a username, a name or an e-mail"))
	handle("POST "+UploadPath, "application/json", "application/wasm", upload(s))
	handle("POST "+BackupPath, "application/gzip", "", backup(s))
	handle("GET /api/v1/audit/export", "application/jsonl", "", exportAudit(s), param("action", "Such as request.approve, or request for all that begin so"), number("after", "Number of the entry before"))
	handle("GET /api/v1/support-bundle", "application/gzip", "", supportBundle(s))
	events := o.Events
	if events == nil {
		events = NewEvents(nil)
	}
	handle("GET "+EventsPath, "text/event-stream", "", events.stream(o.Still), param("topics", strings.Join(Topics, ", ")+", with commas between them; all without it"), param("app", "Only of this app"),
		param("after", "As the header Last-Event-ID, for who can't send it"), &huma.Param{Name: "Last-Event-ID", In: "header", Description: "Id of the last event that was had: those since then come first", Schema: &huma.Schema{Type: huma.TypeString}})
	page, style := docs(a)
	mux.HandleFunc("GET "+DocsPath, page)
	mux.HandleFunc("GET "+DocsPath+".css", style)
}

// Request is a request as the API shows it: with its name, and its log where
// one request was asked for.
type Request struct {
	Name string `json:"Name"`
	// Username and DisplayName are of the user that it is for, Approver is the
	// username of the one who is to approve it.
	Username    string `json:"Username,omitempty"`
	DisplayName string `json:"DisplayName,omitempty"`
	Approver    string `json:"Approver,omitempty"`
	*host.UserProvisioningRequest
	Log []Log `json:"Log,omitempty"`
}

// Log is a log line as the API shows it.
type Log struct {
	Name string `json:"Name"`
	*host.UserProvisioningLog
}

func named(r *host.UserProvisioningRequest) *Request {
	if r == nil {
		return nil
	}
	return &Request{Name: r.Name(), UserProvisioningRequest: r}
}

// NamePeople fills the names of people in requests.
func NamePeople(ctx context.Context, s Service, list ...*Request) error {
	var ids []string
	for _, r := range list {
		for _, id := range []string{r.UserId, r.ApproverId} {
			if id != "" {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	people, err := s.People(ctx, ids)
	for _, r := range list {
		r.Username, r.DisplayName, r.Approver = people[r.UserId].Username, people[r.UserId].DisplayName, people[r.ApproverId].Username
	}
	return err
}

// withLog is the answer of one request.
func withLog(ctx context.Context, s Service, r *host.UserProvisioningRequest, lines []*host.UserProvisioningLog, err error) (*body[*Request], error) {
	shown := named(r)
	for _, l := range lines {
		shown.Log = append(shown.Log, Log{l.Name(), l})
	}
	if err == nil {
		err = NamePeople(ctx, s, shown)
	}
	return answer(shown, err)
}

func requests(a huma.API, s Service) {
	type ByID struct {
		ID string `path:"id" doc:"Id, name (UPR-000042) or number"`
	}
	huma.Get(a, "/api/v1/requests", func(ctx context.Context, in *struct {
		Paged
		App        string    `query:"app"`
		User       string    `query:"user"`
		State      []string  `query:"state" enum:"New,Requested,Completed,Failed,Collecting,Collected,Analyzing,Analyzed,Committing,Retried,Manually Completed,Cancelled" doc:"In any of these states"`
		Operation  string    `query:"operation" enum:"Create,Read,Update,Deactivate,Activate,Freeze,Unfreeze,Reactivate,Delete,Reconcile"`
		Approval   string    `query:"approval" enum:"Required,Not Required,Approved,Denied"`
		Approver   string    `query:"approver" doc:"Id or username: only what is for this user, or for one of the user's groups, to approve"`
		Error      string    `query:"error" enum:"NotFound,AlreadyExists,InvalidInput,Unauthorized,PermissionDenied,RateLimited,Unavailable,Conflict,Unsupported,Internal,LimitExceeded,ConnectorFault,Changed,Usage,Cancelled" doc:"Only with this error code"`
		MadeSince  time.Time `query:"made_since" doc:"Made then or later"`
		MadeBefore time.Time `query:"made_before" doc:"Made earlier"`
		After      int64     `query:"after" minimum:"0" doc:"Number of the last request of the page before"`
	}) (*page[[]*Request], error) {
		f := RequestFilter{App: in.App, User: in.User, Operation: host.Operation(in.Operation), Approval: host.ApprovalStatus(in.Approval), Approver: in.Approver,
			Error: host.Code(in.Error), MadeSince: in.MadeSince, MadeBefore: in.MadeBefore, After: in.After, Paging: in.paging()}
		for _, state := range in.State {
			f.State = append(f.State, host.RequestState(state))
		}
		return in.requests(ctx, s, f)
	})
	huma.Get(a, "/api/v1/requests/{id}", func(ctx context.Context, in *ByID) (*body[*Request], error) {
		r, lines, err := s.Request(ctx, in.ID)
		return withLog(ctx, s, r, lines, err)
	})
	huma.Post(a, "/api/v1/requests", func(ctx context.Context, in *struct {
		Body struct {
			User      string         `json:"user"`
			App       string         `json:"app"`
			Operation host.Operation `json:"operation" enum:"Create,Read,Update,Deactivate,Activate,Freeze,Unfreeze,Reactivate,Delete"`
		}
	}) (*body[*Request], error) {
		r, err := s.CreateRequest(ctx, in.Body.User, in.Body.App, in.Body.Operation)
		return answer(named(r), err)
	})
	act := func(verb string, do func(ctx context.Context, id string) (*host.UserProvisioningRequest, error)) {
		huma.Post(a, "/api/v1/requests/{id}/"+verb, func(ctx context.Context, in *ByID) (*body[*Request], error) {
			r, err := do(ctx, in.ID)
			return answer(named(r), err)
		})
	}
	act("retry", s.Retry)
	act("again", s.RunAgain)
	huma.Get(a, "/api/v1/requests/{id}/test", func(ctx context.Context, in *ByID) (*body[Replay], error) {
		r, lines, err := s.Request(ctx, in.ID)
		if err != nil {
			return nil, problem(err)
		}
		return answer(ReplayOf(r, lines), nil)
	})
	act("cancel", s.Cancel)
	act("commit", s.Commit)
	huma.Post(a, "/api/v1/requests/{id}/complete", func(ctx context.Context, in *struct {
		ByID
		Body struct {
			Note string `json:"note"`
		}
	}) (*body[*Request], error) {
		r, err := s.Complete(ctx, in.ID, in.Body.Note)
		return answer(named(r), err)
	})
}

// Account is an account as the API shows it: with its name.
type Account struct {
	Name string `json:"Name"`
	*host.UserProvAccount
	// AfterNumber is what After of the next page is.
	AfterNumber int64 `json:"AfterNumber"`
}

func shownAccount(u *host.UserProvAccount) *Account {
	if u == nil {
		return nil
	}
	return &Account{u.Name(), u, u.Number}
}

// AccountVerbs are what can be asked of an account that is linked: each makes a
// request.
var AccountVerbs = map[string]host.Operation{
	"read": host.Read, "update": host.Update, "freeze": host.Freeze, "unfreeze": host.Unfreeze, "deactivate": host.Deactivate, "reactivate": host.Reactivate,
}

func accounts(a huma.API, s Service) {
	huma.Get(a, "/api/v1/accounts", func(ctx context.Context, in *struct {
		Paged
		App       string `query:"app"`
		User      string `query:"user" doc:"Id or username"`
		State     string `query:"state" enum:"linked,duplicate,orphaned,ignored"`
		Drifted   bool   `query:"drifted"`
		Undecided bool   `query:"undecided" doc:"Only those that a person must decide about"`
		Query     string `query:"query" doc:"Beginnings of words of an id, a username, a name or an e-mail"`
		After     int64  `query:"after" minimum:"0" doc:"AfterNumber of the last account of the page before"`
	}) (*page[[]*Account], error) {
		f := AccountFilter{App: in.App, User: in.User, State: host.LinkState(in.State), Drifted: in.Drifted, Undecided: in.Undecided,
			Query: in.Query, After: in.After, Paging: in.paging()}
		l, err := s.Accounts(ctx, f)
		shown := make([]*Account, len(l.Rows))
		for i, u := range l.Rows {
			shown[i] = shownAccount(u)
		}
		return pageOf(&in.Paged, shown, l.Next, func() (Count, error) { return s.CountAccounts(ctx, f) }, err)
	})
	huma.Post(a, "/api/v1/accounts/{id}/link", func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body struct {
			User string `json:"user"`
		}
	}) (*body[*Account], error) {
		u, err := s.Link(ctx, in.ID, in.Body.User)
		return answer(shownAccount(u), err)
	})
	act := func(verb string, do func(ctx context.Context, id string) (*host.UserProvAccount, error)) {
		huma.Post(a, "/api/v1/accounts/{id}/"+verb, func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*body[*Account], error) {
			u, err := do(ctx, in.ID)
			return answer(shownAccount(u), err)
		})
	}
	act("unlink", s.Unlink)
	act("ignore", s.Ignore)
	for verb, op := range AccountVerbs {
		huma.Post(a, "/api/v1/accounts/{id}/"+verb, func(ctx context.Context, in *struct {
			ID string `path:"id" doc:"Id or name (UPA-000042)"`
		}) (*body[*Request], error) {
			r, err := s.RequestForAccount(ctx, in.ID, op)
			return answer(named(r), err)
		})
	}
}

// maxImportBytes bounds a file of users.
const maxImportBytes = 1 << 30

// ImportEvent is one line of the answer of an import, which is JSON Lines:
// progress while it works, then a result or a problem.
type ImportEvent struct {
	Done   int64         `json:"done,omitempty"`
	Total  int64         `json:"total,omitempty"`
	Result *ImportResult `json:"result,omitempty"`
	Error  *Problem      `json:"error,omitempty"`
}

func importUsers(s Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		flag := func(name string) bool { v, _ := strconv.ParseBool(q.Get(name)); return v }
		o := ImportOptions{Name: cmp.Or(q.Get("name"), "file"), Format: q.Get("format"), Key: q.Get("key"),
			Prune: flag("prune"), KeepGoing: flag("keep_going"), Assign: q["assign"]}
		// The answer streams while the body is read. What is wrong before it has begun
		// is answered as everywhere.
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // not every writer knows it; the import works without
		enc, begun := json.NewEncoder(w), false
		send := func(e ImportEvent) {
			if !begun {
				begun = true
				w.Header().Set("Content-Type", "application/jsonl")
			}
			if enc.Encode(e) == nil {
				_ = rc.Flush()
			}
		}
		in := io.Reader(http.MaxBytesReader(w, r.Body, maxImportBytes))
		result, err := s.ImportUsers(r.Context(), in, o, func(done, total int64) { send(ImportEvent{Done: done, Total: total}) })
		if err == nil {
			send(ImportEvent{Result: &result})
			return
		}
		p := problem(err)
		p.Errors = result.Errors
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			p.Detail = fmt.Sprintf("the file is larger than %d bytes; import it in parts", tooLarge.Limit)
		}
		if !begun {
			p.write(w)
			return
		}
		send(ImportEvent{Error: p})
	}
}
