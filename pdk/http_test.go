package pdk

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// asked is a context that answers every callout with r and notes the last one.
type asked struct {
	method, url string
	header      map[string]string
	body        string
	lines       []string
}

func (a *asked) context(r Response) *Context {
	c := NewContext(func(method, url string, header map[string]string, body []byte) *Response {
		a.method, a.url, a.header, a.body = method, url, header, string(body)
		answer := r
		return &answer
	}, func() time.Time { return noon }, func(level, line string) { a.lines = append(a.lines, level+" "+line) })
	c.credential = "Acme"
	return c
}

func TestAnErrorIsTypedByStatusAndBody(t *testing.T) {
	const uncertain = true
	for _, c := range []struct {
		name   string
		method string
		r      Response
		want   Error
	}{
		{"401", "GET", Response{Status: 401}, Error{Type: Unauthorized}},
		{"403", "GET", Response{Status: 403}, Error{Type: PermissionDenied}},
		{"404", "GET", Response{Status: 404}, Error{Type: NotFound}},
		{"410", "GET", Response{Status: 410}, Error{Type: NotFound}},
		{"405", "PATCH", Response{Status: 405}, Error{Type: Unsupported}},
		{"501 is certain", "POST", Response{Status: 501}, Error{Type: Unsupported}},
		{"409 of a POST", "POST", Response{Status: 409}, Error{Type: AlreadyExists}},
		{"409 of a PUT", "PUT", Response{Status: 409}, Error{Type: Conflict}},
		{"412", "PUT", Response{Status: 412}, Error{Type: Conflict}},
		{"408", "GET", Response{Status: 408}, Error{Type: Unavailable}},
		{"400", "POST", Response{Status: 400}, Error{Type: InvalidInput}},
		{"422", "POST", Response{Status: 422}, Error{Type: InvalidInput}},
		{"500 of a GET", "GET", Response{Status: 500}, Error{Type: Unavailable}},
		{"500 of a POST", "POST", Response{Status: 500}, Error{Type: Unavailable, Uncertain: uncertain}},
		{"504 of a DELETE", "DELETE", Response{Status: 504}, Error{Type: Unavailable, Uncertain: uncertain}},
		{"503 is certain", "POST", Response{Status: 503, Header: map[string]string{"retry-after": "9"}}, Error{Type: Unavailable, RetryAfterSeconds: 9}},
		{"302", "GET", Response{Status: 302}, Error{Type: Unavailable}},
		{"429 in seconds", "GET", Response{Status: 429, Header: map[string]string{"retry-after": " 30 "}}, Error{Type: RateLimited, RetryAfterSeconds: 30}},
		{"429 with a date", "GET", Response{Status: 429, Header: map[string]string{"retry-after": "Wed, 04 Mar 2026 12:01:30 GMT"}}, Error{Type: RateLimited, RetryAfterSeconds: 90}},
		{"429 with a date gone by", "GET", Response{Status: 429, Header: map[string]string{"retry-after": "Wed, 04 Mar 2026 11:00:00 GMT"}}, Error{Type: RateLimited}},
		{"429 with a negative wait", "GET", Response{Status: 429, Header: map[string]string{"retry-after": "-5"}}, Error{Type: RateLimited}},
		{"429 with nonsense", "GET", Response{Status: 429, Header: map[string]string{"retry-after": "soon"}}, Error{Type: RateLimited}},
		{"SCIM", "PATCH", Response{Status: 400, Body: []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"scimType":"invalidValue","detail":"no such value","status":"400"}`)}, Error{Type: InvalidInput, Details: "invalidValue: no such value"}},
		{"SCIM uniqueness of a POST", "POST", Response{Status: 400, Body: []byte(`{"scimType":"uniqueness","detail":"taken"}`)}, Error{Type: AlreadyExists, Details: "uniqueness: taken"}},
		{"SCIM uniqueness of a PATCH", "PATCH", Response{Status: 409, Body: []byte(`{"scimType":"uniqueness"}`)}, Error{Type: Conflict, Details: "uniqueness:"}},
		{"problem+json", "GET", Response{Status: 403, Body: []byte(`{"title":"Forbidden","detail":"not yours"}`)}, Error{Type: PermissionDenied, Details: "not yours"}},
		{"an error word", "GET", Response{Status: 400, Body: []byte(`{"error":"invalid_request"}`)}, Error{Type: InvalidInput, Details: "invalid_request"}},
		{"an error object", "GET", Response{Status: 400, Body: []byte(`{"error":{"code":7}}`)}, Error{Type: InvalidInput, Details: `{"error":{"code":7}}`}},
		{"HTML", "GET", Response{Status: 404, Body: []byte("<h1>Not\n  found</h1>")}, Error{Type: NotFound, Details: "<h1>Not found</h1>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := (&asked{}).context(c.r).Do(&Request{Method: c.method, Path: "/x"}).Err()
			var got *Error
			require.ErrorAs(t, err, &got)
			assert.Contains(t, got.Message, c.want.Details)
			want := c.want
			want.HTTPStatus, want.Message = c.r.Status, got.Message
			assert.Equal(t, want, *got)
		})
	}
}

func TestAFailedCalloutIsTheErrorInItsBody(t *testing.T) {
	ctx := (&asked{}).context(Response{Body: []byte(`{"type":"Unavailable","message":"refused","uncertain":true}`)})
	assert.Equal(t, &Error{Type: Unavailable, Message: "refused", Uncertain: true}, ctx.Get("/x").Err())
	ctx = (&asked{}).context(Response{})
	assert.Equal(t, Internal, TypeOf(ctx.Get("/x").Err()))
}

func TestJSON(t *testing.T) {
	var got struct{ A int }
	require.NoError(t, (&asked{}).context(Response{Status: 200, Body: []byte(`{"A":1}`)}).Get("/x").JSON(&got))
	assert.Equal(t, 1, got.A)
	require.NoError(t, (&asked{}).context(Response{Status: 204}).Delete("/x").JSON(&got), "an empty body is none")
	require.NoError(t, (&asked{}).context(Response{Status: 200}).Patch("/x", nil).JSON(&got), "a change may be answered with nothing")
	require.Equal(t, Unavailable, TypeOf((&asked{}).context(Response{Status: 200}).Get("/x").JSON(&got)), "an answer cut off reads as no list")
	assert.Equal(t, 1, got.A)

	for method, uncertain := range map[string]bool{"GET": false, "POST": true} {
		err := (&asked{}).context(Response{Status: 200, Body: []byte("<html>")}).Do(&Request{Method: method}).JSON(&got)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, Unavailable, e.Type)
		assert.Equal(t, uncertain, e.Uncertain, method)
		assert.Equal(t, "<html>", e.Details)
	}
}

func TestWhatIsSent(t *testing.T) {
	var a asked
	ctx := a.context(Response{Status: 200})
	require.NoError(t, ctx.Get("users", "after", "", "filter", `a eq "b"`).Err())
	assert.Equal(t, "callout:Acme/users?filter=a+eq+%22b%22", a.url, "an empty value is left out")
	assert.Equal(t, map[string]string{"accept": "application/json"}, a.header)
	assert.Empty(t, a.body)

	require.NoError(t, ctx.Patch("/users/1", map[string]any{"a": 1}).Err())
	assert.Equal(t, "PATCH", a.method)
	assert.Equal(t, `{"a":1}`, a.body)
	assert.Equal(t, "application/json", a.header["content-type"])

	require.NoError(t, ctx.Do(&Request{Method: "PUT", Path: "/x", Header: map[string]string{"Accept": "text/plain"}}).Err())
	assert.Equal(t, map[string]string{"accept": "text/plain"}, a.header)

	assert.Equal(t, Internal, TypeOf(ctx.Post("/x", func() {}).Err()), "a body that is no JSON")
	ctx.credential = ""
	assert.Equal(t, Unauthorized, TypeOf(ctx.Get("/x").Err()))
}

func TestLogLines(t *testing.T) {
	var a asked
	log := a.context(Response{}).Log()
	log.Debug("a", "n", 1)
	log.Info("b", "odd")
	log.Warn("c")
	log.Error("d", "x", "y", "z", true)
	assert.Equal(t, []string{"debug a n=1", "info b", "warn c", "error d x=y z=true"}, a.lines)
}
