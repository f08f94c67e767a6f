package chaos

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
)

// names knows whom an account was made for.
type names struct{ byID, byExternalID map[string]string }

func newNames() *names { return &names{map[string]string{}, map[string]string{}} }

// learn remembers the name that an account was made with: it may be renamed
// later, and stays the same subject.
func (n *names) learn(e Entry) {
	if e.Operation != Create {
		return
	}
	n.byID[e.ID] = e.Subject
	if id, _ := e.Account["externalId"].(string); id != "" {
		n.byExternalID[id] = e.Subject
	}
}

// filtered finds the value in a filter such as userName eq "ada".
var filtered = regexp.MustCompile(`(\w+)[^"]* eq ("(?:[^"\\]|\\.)*")`)

// scim tells what a SCIM call is for.
func (n *names) scim(r *http.Request, body []byte) (op Operation, subject string, page int) {
	if !strings.HasPrefix(r.URL.Path, "/Users") {
		return Config, "", 0
	}
	if id := idOf(r); id != "" {
		return n.one(r.Method, body), n.byID[id], 0
	}
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		var account struct{ UserName, ExternalID string }
		_ = json.Unmarshal(body, &account) // the target refuses what is no JSON
		n.byExternalID[account.ExternalID] = account.UserName
		return Create, account.UserName, 0
	}
	if m := filtered.FindStringSubmatch(q.Get("filter")); m != nil {
		var value string
		_ = json.Unmarshal([]byte(m[2]), &value) // it matched a JSON string
		if m[1] == "externalId" {
			value = n.byExternalID[value]
		}
		return Search, value, 0
	}
	start, count := number(q.Get("startIndex"), 1), number(q.Get("count"), 100)
	return List, "", (start-1)/max(1, count) + 1
}

func (n *names) one(method string, body []byte) Operation {
	switch method {
	case http.MethodGet:
		return Read
	case http.MethodDelete:
		return Delete
	case http.MethodPatch:
		var patch struct {
			Operations []struct {
				Path  string
				Value any
			}
		}
		if json.Unmarshal(body, &patch) == nil && len(patch.Operations) == 1 && patch.Operations[0].Path == "active" {
			if patch.Operations[0].Value == true {
				return Activate
			}
			return Deactivate
		}
	}
	return Update
}

// idOf is the last segment of a path below /Users or /accounts.
func idOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-1]
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// overlap is how many accounts of the page before an overlapping page has.
const overlap = 3

// page makes a wrong page of a right one.
func (t *Target) page(r *http.Request, k Kind, right *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	q := r.URL.Query()
	start, count := number(q.Get("startIndex"), 1), number(q.Get("count"), 100)
	from := func(start int) *httptest.ResponseRecorder {
		q.Set("startIndex", strconv.Itoa(max(1, start)))
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.serve(r, q.Encode(), nil)
	}
	answer := right
	switch k {
	case Repeat:
		return from(start - count)
	case Overlap:
		answer = from(start - overlap)
	}
	var doc map[string]any
	if json.Unmarshal(answer.Body.Bytes(), &doc) != nil {
		return answer // no list, so no page to spoil
	}
	list, _ := doc["Resources"].([]any)
	switch k {
	case Empty:
		doc["Resources"], doc["itemsPerPage"] = []any{}, 0
	case Overlap:
		doc["startIndex"] = start
	case Shrink:
		doc["totalResults"] = start - 1 + len(list)
	case Duplicate:
		var twice []any
		for _, a := range list {
			twice = append(twice, a, a)
		}
		doc["Resources"], doc["itemsPerPage"] = twice, len(twice)
	}
	b, err := json.Marshal(doc)
	if err != nil { // it came from JSON
		panic(err)
	}
	wrong := httptest.NewRecorder()
	for name, v := range answer.Header() {
		wrong.Header()[name] = v
	}
	wrong.Header().Del("Content-Length")
	wrong.Code = answer.Code
	wrong.Body.Write(b)
	return wrong
}
