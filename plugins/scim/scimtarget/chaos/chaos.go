// Package chaos is a target in trouble, for tests: a server behind a schedule
// of faults. A fault is laid down for a logical call (an operation on somebody
// or a page, and the how-manieth attempt at it), strikes before or after the
// target has acted, and is noted when it struck. What the target really did
// stands in a journal of its own, by which a test judges the end; it knows
// nothing of the host's database.
package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Operation is what a call is for, as far as the target can tell.
type Operation string

// The operations that [SCIM] tells apart.
const (
	Create     Operation = "create"
	Read       Operation = "read"   // one account by its id
	Search     Operation = "search" // accounts by a filter
	Update     Operation = "update"
	Activate   Operation = "activate"
	Deactivate Operation = "deactivate"
	Delete     Operation = "delete"
	List       Operation = "list" // a page of all accounts
	Config     Operation = "config"
)

// Call is a logical call: the same one however often it is tried.
type Call struct {
	Operation Operation
	Subject   string // the userName that the account was made with, "" for none
	Page      int    // of a list, from 1
	Attempt   int    // the how-manieth call for the three above, from 1
}

func (c Call) String() string {
	return fmt.Sprintf("%s %s page %d attempt %d", c.Operation, c.Subject, c.Page, c.Attempt)
}

// Kind is what goes wrong.
type Kind string

// The faults. Those of pages change the answer of a list.
const (
	Answer    Kind = "answer"    // Status (and RetryAfter) in place of the answer
	Delay     Kind = "delay"     // it takes Delay longer
	Cut       Kind = "cut"       // the connection is cut, and no answer comes
	CutBody   Kind = "cut body"  // half the answer comes
	Garbage   Kind = "garbage"   // a page for people, with status 200
	Drift     Kind = "drift"     // Change is called; the answer is as it is
	Empty     Kind = "empty"     // a page without accounts, though it is not the last
	Overlap   Kind = "overlap"   // the page begins with accounts of the one before
	Shrink    Kind = "shrink"    // the total is no more than what came so far
	Repeat    Kind = "repeat"    // the page before once more, with its startIndex
	Duplicate Kind = "duplicate" // each account of the page twice
)

// Fault is one fault and the calls that it strikes. An empty Operation,
// Subject or Page means any.
type Fault struct {
	Operation Operation
	Subject   string
	Page      int
	// Attempt is the first that is struck (0: the first), Times how many in a
	// row (0: one).
	Attempt, Times int

	Kind Kind
	// After: the target has acted when it strikes.
	After bool
	// Status and RetryAfter (seconds) are of an [Answer].
	Status, RetryAfter int
	Delay              time.Duration
	Change             func()
}

func (f *Fault) strikes(c Call) bool {
	from := max(1, f.Attempt)
	return (f.Operation == "" || f.Operation == c.Operation) && (f.Subject == "" || f.Subject == c.Subject) && (f.Page == 0 || f.Page == c.Page) &&
		c.Attempt >= from && c.Attempt < from+max(1, f.Times)
}

// Injection is a fault that struck.
type Injection struct {
	Call   Call
	Kind   Kind
	Status int
	After  bool
}

// Entry is one change that the target made for a caller.
type Entry struct {
	Operation Operation
	Subject   string
	ID        string
	// Account is as the target answered, nil after a delete.
	Account map[string]any
}

// Storm strikes calls by chance. Whom it strikes depends on the seed and on
// the logical call alone, whatever the order in which calls come.
type Storm struct {
	Seed uint64
	// Share of the calls that are struck, from 0 to 1.
	Share float64
	// Attempts: later ones are let through, so that all comes to an end.
	Attempts int
	Faults   []Fault // one of them, its Operation respected
}

// Options are for [New].
type Options struct {
	// Behind is the target that acts.
	Behind http.Handler
	// Name tells what a call is for; nil is for SCIM. It is called with the lock
	// held.
	Name func(r *http.Request, body []byte) (op Operation, subject string, page int)
	// Sleep waits for a delay; nil is the real time, or the end of the call.
	Sleep func(ctx context.Context, d time.Duration)
}

// Target is the server. It may be used from many goroutines.
type Target struct {
	options Options
	names   *names

	mu       sync.Mutex
	faults   []*Fault
	struck   map[*Fault]int
	storm    *Storm
	attempts map[Call]int // by call with Attempt 0
	injected []Injection
	journal  []Entry
	suffix   bool
	upper    bool
}

// New puts a target behind faults.
func New(o Options) *Target {
	t := &Target{options: o, names: newNames(), struck: map[*Fault]int{}, attempts: map[Call]int{}}
	if t.options.Name == nil {
		t.options.Name = t.names.scim
	}
	if t.options.Sleep == nil {
		t.options.Sleep = func(ctx context.Context, d time.Duration) {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
	}
	return t
}

// Inject lays down faults; the first that fits a call strikes it.
func (t *Target) Inject(faults ...Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range faults {
		t.faults = append(t.faults, &faults[i])
	}
}

// Rage begins a storm; nil ends it.
func (t *Target) Rage(s *Storm) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.storm = s
}

// Suffix makes a target that gives an account whose name is taken a name of
// its own, as many do, in place of refusing it.
func (t *Target) Suffix(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.suffix = on
}

// UpperIDs makes a target that writes its ids in capital letters from now on,
// and knows them in either way.
func (t *Target) UpperIDs() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.upper = true
}

// Injected lists the faults that struck, in order.
func (t *Target) Injected() []Injection {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.injected)
}

// Missed lists the faults of [Target.Inject] that did not strike as often as
// they were laid down.
func (t *Target) Missed() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, f := range t.faults {
		if n := t.struck[f]; n < max(1, f.Times) {
			list = append(list, fmt.Sprintf("%s of %s %s page %d (%d of %d)", f.Kind, f.Operation, f.Subject, f.Page, n, max(1, f.Times)))
		}
	}
	return list
}

// Journal lists what the target did, in order.
func (t *Target) Journal() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.journal)
}

// Done counts an operation on somebody; with an empty subject, on anybody.
func (t *Target) Done(op Operation, subject string) int {
	n := 0
	for _, e := range t.Journal() {
		if e.Operation == op && (subject == "" || e.Subject == subject) {
			n++
		}
	}
	return n
}

// Calls counts the calls for an operation, struck or not.
func (t *Target) Calls(op Operation, subject string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for c, attempts := range t.attempts {
		if c.Operation == op && (subject == "" || c.Subject == subject) {
			n += attempts
		}
	}
	return n
}

func (t *Target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the caller is gone
	}
	call, fault := t.begin(r, body)
	if fault != nil && !fault.After {
		t.strike(w, r, fault, nil)
		if fault.Kind != Drift && fault.Kind != Delay {
			return
		}
	}
	answer := t.act(r, body, call)
	if fault != nil && fault.After {
		if t.strike(w, r, fault, answer) {
			return
		}
	}
	pass(w, answer)
}

// begin numbers a call and chooses its fault.
func (t *Target) begin(r *http.Request, body []byte) (Call, *Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var c Call
	c.Operation, c.Subject, c.Page = t.options.Name(r, body)
	t.attempts[c]++
	c.Attempt = t.attempts[Call{c.Operation, c.Subject, c.Page, 0}]
	var fault *Fault
	for _, f := range t.faults {
		if f.strikes(c) {
			fault = f
			t.struck[f]++
			break
		}
	}
	if fault == nil && t.storm != nil {
		fault = t.storm.choose(c)
	}
	if fault != nil {
		if onlyPages(fault.Kind) && !fault.After {
			always := *fault
			always.After, fault = true, &always
		}
		t.injected = append(t.injected, Injection{c, fault.Kind, fault.Status, fault.After})
	}
	return c, fault
}

func onlyPages(k Kind) bool {
	return k == Empty || k == Overlap || k == Shrink || k == Repeat || k == Duplicate || k == CutBody
}

// choose throws the dice that belong to a logical call.
func (s *Storm) choose(c Call) *Fault {
	if c.Attempt > s.Attempts {
		return nil
	}
	var fit []*Fault
	for i := range s.Faults {
		if f := &s.Faults[i]; f.Operation == "" || f.Operation == c.Operation {
			fit = append(fit, f)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	h := fnv.New64a()
	fmt.Fprint(h, c)
	dice := rand.New(rand.NewPCG(s.Seed, h.Sum64()))
	if dice.Float64() >= s.Share {
		return nil
	}
	return fit[dice.IntN(len(fit))]
}

// act lets the target do what it is asked, and notes what it did.
func (t *Target) act(r *http.Request, body []byte, c Call) *httptest.ResponseRecorder {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer := t.serve(r, r.URL.RawQuery, body)
	if t.suffix && c.Operation == Create {
		for n := 2; answer.Code == http.StatusConflict && n < 100; n++ {
			var account map[string]any
			if json.Unmarshal(body, &account) != nil {
				break
			}
			account["userName"] = fmt.Sprintf("%s%d", account["userName"], n)
			other, err := json.Marshal(account)
			if err != nil { // it came from JSON
				panic(err)
			}
			answer = t.serve(r, r.URL.RawQuery, other)
		}
	}
	if answer.Code < 200 || answer.Code > 299 || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return answer
	}
	e := Entry{Operation: c.Operation, Subject: c.Subject}
	_ = json.Unmarshal(answer.Body.Bytes(), &e.Account) // a delete's is empty
	if e.ID, _ = e.Account["id"].(string); e.ID == "" {
		e.ID = idOf(r)
	}
	t.names.learn(e)
	t.journal = append(t.journal, e)
	return answer
}

// serve asks the target behind; t.mu is held.
func (t *Target) serve(r *http.Request, query string, body []byte) *httptest.ResponseRecorder {
	again := r.Clone(r.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	again.URL.RawQuery = query
	if t.upper {
		again.URL.Path = strings.TrimSuffix(again.URL.Path, idOf(r)) + strings.ToLower(idOf(r))
	}
	again.RequestURI = again.URL.RequestURI()
	answer := httptest.NewRecorder()
	t.options.Behind.ServeHTTP(answer, again)
	if t.upper {
		answer.Body = bytes.NewBuffer(ids.ReplaceAllFunc(answer.Body.Bytes(), func(id []byte) []byte { return append([]byte(`"id":`), bytes.ToUpper(id[5:])...) }))
		answer.Header().Del("Content-Length")
	}
	return answer
}

// ids finds the ids in an answer.
var ids = regexp.MustCompile(`"id":"[^"]*"`)

// strike does what a fault says. It is true when the call has its answer, or
// will have none; answer is nil where the target has not acted.
func (t *Target) strike(w http.ResponseWriter, r *http.Request, f *Fault, answer *httptest.ResponseRecorder) bool {
	switch f.Kind {
	case Delay:
		t.options.Sleep(r.Context(), f.Delay)
		return false
	case Drift:
		f.Change()
		return false
	case Cut:
		panic(http.ErrAbortHandler)
	case CutBody:
		for name, v := range answer.Header() {
			w.Header()[name] = v
		}
		b := answer.Body.Bytes()
		w.Header().Set("Content-Length", strconv.Itoa(max(2, len(b))))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(b[:len(b)/2])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	case Garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><h1>Down for maintenance</h1></html>")
		return true
	case Answer:
		w.Header().Set("Content-Type", "application/scim+json")
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		w.WriteHeader(f.Status)
		fmt.Fprintf(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"%d","detail":"a fault laid down by the test"}`, f.Status)
		return true
	}
	pass(w, t.page(r, f.Kind, answer))
	return true
}

func pass(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, v := range answer.Header() {
		w.Header()[name] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}
