package pdk

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is one HTTP request over the named credential.
type Request struct {
	Method string
	// Path is relative to the credential's endpoint: /Users/42. Segments that
	// come from data must be escaped with [url.PathEscape].
	Path  string
	Query url.Values
	// Header may not set the sign-in: the host does.
	Header map[string]string
	Body   []byte
}

// Response is the answer to a [Request]. A callout that failed has the Status
// 0 and the contract's error as its Body.
type Response struct {
	Status int
	// Header has lower-case names.
	Header map[string]string
	Body   []byte

	method string
	now    time.Time
	failed *Error // before anything was sent
}

// HTTPFunc performs one callout: what the host does in production and the
// harness in tests. url is callout:NAME/path?query.
type HTTPFunc func(method, url string, header map[string]string, body []byte) *Response

// Context is one call of a connector: HTTP over the call's named credential,
// the clock, and the log.
type Context struct {
	credential string
	http       HTTPFunc
	now        func() time.Time
	log        func(level, line string)
}

// NewContext makes a context for a host: the wasm glue or a test harness.
func NewContext(http HTTPFunc, now func() time.Time, log func(level, line string)) *Context {
	return &Context{http: http, now: now, log: log}
}

// Now is the time of the call.
func (c *Context) Now() time.Time { return c.now() }

// Log writes to the host's log, marked as the connector's. Never log a secret
// or more of a person than the log's reader needs.
func (c *Context) Log() Logger { return Logger{c.log} }

// Logger writes lines of a message and key-value pairs.
type Logger struct{ write func(level, line string) }

// Debug logs what only the author wants to see.
func (l Logger) Debug(msg string, kv ...any) { l.write("debug", logLine(msg, kv)) }

// Info logs what an operator may want to see.
func (l Logger) Info(msg string, kv ...any) { l.write("info", logLine(msg, kv)) }

// Warn logs what an operator should look at.
func (l Logger) Warn(msg string, kv ...any) { l.write("warn", logLine(msg, kv)) }

// Error logs what went wrong.
func (l Logger) Error(msg string, kv ...any) { l.write("error", logLine(msg, kv)) }

func logLine(msg string, kv []any) string {
	var b strings.Builder
	b.WriteString(msg)
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(&b, " %v=%v", kv[i], kv[i+1])
	}
	return b.String()
}

// Get fetches path with the query's names and values in turn; an empty value
// is left out.
func (c *Context) Get(path string, query ...string) *Response {
	return c.Do(&Request{Method: "GET", Path: path, Query: pairs(query)})
}

// Delete deletes path.
func (c *Context) Delete(path string, query ...string) *Response {
	return c.Do(&Request{Method: "DELETE", Path: path, Query: pairs(query)})
}

// Post sends body as JSON.
func (c *Context) Post(path string, body any) *Response { return c.send("POST", path, body) }

// Put sends body as JSON.
func (c *Context) Put(path string, body any) *Response { return c.send("PUT", path, body) }

// Patch sends body as JSON.
func (c *Context) Patch(path string, body any) *Response { return c.send("PATCH", path, body) }

func (c *Context) send(method, path string, body any) *Response {
	b, err := Marshal(body)
	if err != nil {
		return &Response{failed: Errorf(Internal, "the body of %s %s can't be written as JSON: %v", method, path, err)}
	}
	return c.Do(&Request{Method: method, Path: path, Body: b, Header: map[string]string{"content-type": "application/json"}})
}

// Do performs r.
func (c *Context) Do(r *Request) *Response {
	if c.credential == "" {
		return &Response{failed: Errorf(Unauthorized, "this call has no named credential, so it can reach nothing")}
	}
	target := "callout:" + c.credential
	if !strings.HasPrefix(r.Path, "/") {
		target += "/"
	}
	target += r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	header := make(map[string]string, len(r.Header)+1)
	for name, value := range r.Header {
		header[strings.ToLower(name)] = value
	}
	if _, ok := header["accept"]; !ok {
		header["accept"] = "application/json"
	}
	answer := c.http(r.Method, target, header, r.Body)
	answer.method, answer.now = r.Method, c.now()
	return answer
}

func pairs(kv []string) url.Values {
	if len(kv) == 0 {
		return nil
	}
	q := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			q.Set(kv[i], kv[i+1])
		}
	}
	return q
}

// JSON decodes the body into v, unless the answer is an error. An empty body
// leaves v as it is after a change or with a 204; to a GET it is an error.
func (r *Response) JSON(v any) error {
	if err := r.Err(); err != nil {
		return err
	}
	if len(r.Body) == 0 {
		if r.Status == 204 || r.changes() {
			return nil // nothing was promised: v stays as it is
		}
		// An answer that was lost on the way must not read as an empty list.
		e := Errorf(Unavailable, "the target answered %d with no body where JSON was expected", r.Status)
		e.HTTPStatus = r.Status
		return e
	}
	if err := Unmarshal(r.Body, v); err != nil {
		e := Errorf(Unavailable, "the target answered %d with what is not the JSON that was expected: %v", r.Status, err)
		e.HTTPStatus, e.Uncertain = r.Status, r.changes()
		e.Details = excerpt(r.Body)
		return e
	}
	return nil
}

// changes tells whether the request may have changed something.
func (r *Response) changes() bool { return r.method != "" && r.method != "GET" && r.method != "HEAD" }

// Err is nil for a status from 200 to 299, and otherwise an *[Error] with the
// type that the status means and with what a SCIM or problem+json body says.
func (r *Response) Err() error {
	if r.failed != nil {
		return r.failed
	}
	if r.Status == 0 {
		return DecodeError(r.Body)
	}
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	e := &Error{Type: r.errorType(), HTTPStatus: r.Status, RetryAfterSeconds: r.retryAfter()}
	e.Uncertain = r.Status >= 500 && r.Status != 501 && r.Status != 503 && r.changes()
	var doc struct {
		Detail   string          `json:"detail"`
		ScimType string          `json:"scimType"`
		Title    string          `json:"title"`
		Message  string          `json:"message"`
		Error    json.RawMessage `json:"error"`
	}
	if json.Unmarshal(r.Body, &doc) == nil {
		if e.Details = first(doc.Detail, doc.Message, doc.Title, rawText(doc.Error)); doc.ScimType != "" {
			e.Details = strings.TrimSpace(doc.ScimType + ": " + e.Details)
		}
		if doc.ScimType == "uniqueness" && r.method == "POST" {
			e.Type = AlreadyExists
		}
	}
	if e.Details == "" {
		e.Details = excerpt(r.Body)
	}
	e.Message = fmt.Sprintf("the target answered %d", r.Status)
	if e.Details != "" {
		e.Message += ": " + e.Details
	}
	return e
}

func (r *Response) errorType() ErrorType {
	switch r.Status {
	case 401:
		return Unauthorized
	case 403:
		return PermissionDenied
	case 404, 410:
		return NotFound
	case 405, 501:
		return Unsupported
	case 409:
		if r.method == "POST" {
			return AlreadyExists
		}
		return Conflict
	case 412:
		return Conflict
	case 429:
		return RateLimited
	case 408:
		return Unavailable
	}
	switch {
	case r.Status >= 500:
		return Unavailable
	case r.Status >= 400:
		return InvalidInput
	default: // a redirect that the host did not follow, or an informational status
		return Unavailable
	}
}

// retryAfter reads Retry-After, in seconds or as a date; 0 where there is
// none.
func (r *Response) retryAfter() int {
	v := strings.TrimSpace(r.Header["retry-after"])
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil {
		return max(0, n)
	}
	for _, layout := range []string{time.RFC1123, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, v); err == nil {
			return max(0, int(t.Sub(r.now).Seconds()+0.999))
		}
	}
	return 0
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// rawText is a JSON string's text, and "" for any other value.
func rawText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

const excerptBytes = 200

// excerpt is the beginning of a body as one line of text.
func excerpt(body []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 4*excerptBytes)]), "")), " ")
	if len(s) > excerptBytes {
		s = strings.ToValidUTF8(s[:excerptBytes], "") + "…"
	}
	return s
}
