// Package target is the small HTTP app that the connector mock keeps its
// accounts in: a list of JSON objects in memory. It knows nothing of the
// contract.
package target

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The bounds of what a request may ask for.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	maxBody      = 1 << 20
	maxDelay     = time.Minute
)

// Account is one account: whatever JSON object was stored, with the members id
// and version that the target gives, and the member username, which is unique
// without regard to case.
type Account map[string]any

// Target is the app. Its requests may come at once.
//
//	GET    /                  200
//	GET    /accounts          ?after=ID&limit=N, or ?username=NAME
//	POST   /accounts          409 where the username is taken
//	GET    /accounts/{id}     404 where there is none
//	PUT    /accounts/{id}     412 where If-Match is not the version
//	DELETE /accounts/{id}     204
//	GET    /changes           ?since=TOKEN&limit=N; 410 where that is forgotten
//
// A list has the token of its moment; changes since it are each account's last.
// Every request may carry ?delay=MILLISECONDS, which the answer then waits.
type Target struct {
	token string
	mux   *http.ServeMux

	mu       sync.Mutex
	last     int
	accounts map[string]Account
	// moment counts the changes; changes has the last one of each account, and
	// those up to forgotten are not known any more.
	moment, forgotten int
	changes           map[string]change
}

// change is the last change of an account.
type change struct{ at, made int }

// New makes an empty target. Where token is not empty, every request must
// carry it as its bearer.
func New(token string) *Target {
	t := &Target{token: token, mux: http.NewServeMux(), accounts: map[string]Account{}, changes: map[string]change{}}
	t.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]any{"ok": true}) })
	t.mux.HandleFunc("GET /accounts", t.list)
	t.mux.HandleFunc("GET /changes", t.since)
	t.mux.HandleFunc("POST /accounts", t.create)
	t.mux.HandleFunc("GET /accounts/{id}", t.get)
	t.mux.HandleFunc("PUT /accounts/{id}", t.put)
	t.mux.HandleFunc("DELETE /accounts/{id}", t.delete)
	return t
}

// ServeHTTP serves one request.
func (t *Target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if t.token != "" && subtle.ConstantTimeCompare([]byte(bearer), []byte(t.token)) != 1 {
		refuse(w, http.StatusUnauthorized, "the bearer token is missing or wrong")
		return
	}
	if ms, err := strconv.Atoi(r.URL.Query().Get("delay")); err == nil && ms > 0 {
		// Only once the body is read does the server see that the client is gone.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			refuse(w, http.StatusBadRequest, "the body can't be read")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		wait := time.NewTimer(min(time.Duration(ms)*time.Millisecond, maxDelay))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	t.mux.ServeHTTP(w, r)
}

// Accounts returns every account, in the order in which they were made.
func (t *Target) Accounts() []Account {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Account, 0, len(t.accounts))
	for _, id := range slices.Sorted(maps.Keys(t.accounts)) {
		all = append(all, maps.Clone(t.accounts[id]))
	}
	return all
}

// Forget lets the target know no change of before any more, as apps do after
// some days.
func (t *Target) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moment++
	t.forgotten = t.moment
	clear(t.changes)
}

// Put changes an account, or takes it away where a is nil, as somebody does by
// hand. It reports whether there is such an account.
func (t *Target) Put(id string, a Account) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, there := t.accounts[id]
	switch {
	case !there:
	case a == nil:
		t.remove(id)
	default:
		t.store(old, maps.Clone(a))
	}
	return there
}

// Add stores an account that no connector made and returns its id. It returns
// "" where the username is empty or taken.
func (t *Target) Add(a Account) (id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.username() == "" || t.taken(a.username(), "") {
		return ""
	}
	return t.add(a)["id"].(string)
}

func (a Account) username() string {
	name, _ := a["username"].(string)
	return name
}

func (t *Target) add(a Account) Account {
	t.last++
	a = maps.Clone(a)
	a["id"], a["version"] = fmt.Sprintf("acc-%08d", t.last), "1"
	t.accounts[a["id"].(string)] = a
	t.changed(a["id"].(string))
	return a
}

// store puts a in the place of old.
func (t *Target) store(old, a Account) {
	n, _ := strconv.Atoi(old["version"].(string)) // ours: always a number
	a["id"], a["version"] = old["id"], strconv.Itoa(n+1)
	t.accounts[a["id"].(string)] = a
	t.changed(a["id"].(string))
}

func (t *Target) remove(id string) {
	delete(t.accounts, id)
	t.changed(id)
}

func (t *Target) changed(id string) {
	t.moment++
	c, known := t.changes[id]
	if !known && t.accounts[id]["version"] == "1" {
		c.made = t.moment
	}
	c.at = t.moment
	t.changes[id] = c
}

func (t *Target) taken(username, besides string) bool {
	for id, a := range t.accounts {
		if id != besides && strings.EqualFold(a.username(), username) {
			return true
		}
	}
	return false
}

func (t *Target) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, ok := limitOf(w, q)
	if !ok {
		return
	}
	t.mu.Lock()
	moment := t.moment // what changes from here on is a change since
	t.mu.Unlock()
	all := t.Accounts()
	total := len(all)
	all = slices.DeleteFunc(all, func(a Account) bool {
		name := q.Get("username")
		return a["id"].(string) <= q.Get("after") || name != "" && !strings.EqualFold(a.username(), name)
	})
	next := ""
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1]["id"].(string)
	}
	answer(w, http.StatusOK, map[string]any{"accounts": all, "next": next, "total": total, "token": strconv.Itoa(moment)})
}

func limitOf(w http.ResponseWriter, q url.Values) (limit int, ok bool) {
	s := q.Get("limit")
	if s == "" {
		return DefaultLimit, true
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		refuse(w, http.StatusBadRequest, "limit must be a whole number from 1")
		return 0, false
	}
	return min(n, MaxLimit), true
}

// since lists what has changed, the oldest change first. An account that
// changes while the pages are read comes again on a later one.
func (t *Target) since(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r.URL.Query())
	if !ok {
		return
	}
	since, err := strconv.Atoi(r.URL.Query().Get("since"))
	if err != nil || since < 0 {
		refuse(w, http.StatusBadRequest, "since must be the token of a list or of changes")
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if since < t.forgotten || since > t.moment {
		refuse(w, http.StatusGone, fmt.Sprintf("what has changed since %d is not known any more", since))
		return
	}
	ids := slices.DeleteFunc(slices.Collect(maps.Keys(t.changes)), func(id string) bool { return t.changes[id].at <= since })
	slices.SortFunc(ids, func(a, b string) int { return t.changes[a].at - t.changes[b].at })
	next := ""
	if len(ids) > limit {
		ids = ids[:limit]
		next = strconv.Itoa(t.changes[ids[limit-1]].at)
	}
	list := make([]map[string]any, len(ids))
	for i, id := range ids {
		a, there := t.accounts[id]
		switch {
		case !there:
			list[i] = map[string]any{"change": "deleted", "account": Account{"id": id}}
		case t.changes[id].made > since:
			list[i] = map[string]any{"change": "created", "account": a}
		default:
			list[i] = map[string]any{"change": "changed", "account": a}
		}
	}
	answer(w, http.StatusOK, map[string]any{"changes": list, "next": next, "token": strconv.Itoa(t.moment)})
}

func (t *Target) create(w http.ResponseWriter, r *http.Request) {
	a, ok := read(w, r)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken(a.username(), "") {
		refuse(w, http.StatusConflict, fmt.Sprintf("the username %q is taken", a.username()))
		return
	}
	answer(w, http.StatusCreated, t.add(a))
}

func (t *Target) get(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.find(w, r); ok {
		answer(w, http.StatusOK, a)
	}
}

func (t *Target) put(w http.ResponseWriter, r *http.Request) {
	a, ok := read(w, r)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.find(w, r)
	if !ok {
		return
	}
	id, version := old["id"].(string), old["version"].(string)
	if want := r.Header.Get("If-Match"); want != "" && want != version {
		refuse(w, http.StatusPreconditionFailed, fmt.Sprintf("the version is %s, not %s", version, want))
		return
	}
	if t.taken(a.username(), id) {
		refuse(w, http.StatusConflict, fmt.Sprintf("the username %q is taken", a.username()))
		return
	}
	t.store(old, a)
	answer(w, http.StatusOK, a)
}

func (t *Target) delete(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.find(w, r); ok {
		t.remove(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	}
}

func (t *Target) find(w http.ResponseWriter, r *http.Request) (Account, bool) {
	a, ok := t.accounts[r.PathValue("id")]
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no account %q", r.PathValue("id")))
	}
	return a, ok
}

func read(w http.ResponseWriter, r *http.Request) (Account, bool) {
	var a Account
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&a); err != nil {
		refuse(w, http.StatusBadRequest, "the body is no JSON object: "+err.Error())
		return nil, false
	}
	if a.username() == "" {
		refuse(w, http.StatusBadRequest, "username must be a text that is not empty")
		return nil, false
	}
	return a, true
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"message": message})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: there is nobody to tell
}
