package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/publicsuffix"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// SessionConfig is for [Session]: a request that signs in, and what is kept of
// its answer. {!$Credential.Username} and {!$Credential.Password} in what is
// sent are filled in, as they must stand there.
type SessionConfig struct {
	Method  string // "" is POST
	Path    string // on the endpoint's origin
	Form    map[string]string
	JSON    map[string]any
	Headers map[string]string
	CSRF    CSRF
	Keep    string // cookie or token
	// Token is where it stands in the answer: data.token, or header:NAME.
	Token     string
	Send      Place
	EndedWhen Ended
	// Lifetime is how long a session lasts; 0: until an answer shows its end.
	Lifetime time.Duration
}

// CSRF is a token that a page gives before the sign-in, and wants back.
type CSRF struct {
	Path                  string
	Cookie, Header, Field string // where it stands
	SendAs                string // header:NAME or field:NAME
}

// Ended is how an answer shows that a session has ended. 401 always does.
type Ended struct {
	Status       []int
	RedirectTo   string
	BodyContains string
}

// session is what a sign-in yielded; it is stored sealed.
type session struct {
	Token   string            `json:"token,omitempty"`
	Cookies map[string]string `json:"cookies,omitempty"`
}

// mostSessionBytes bounds one answer while signing in.
const mostSessionBytes = 4 << 20

// ended tells whether an answer shows that the session has ended.
func (c *SessionConfig) ended(status int, header http.Header, body []byte) bool {
	e := c.EndedWhen
	switch {
	case status == http.StatusUnauthorized, slices.Contains(e.Status, status):
		return true
	case e.RedirectTo != "" && status >= 300 && status < 400:
		u, err := url.Parse(header.Get("Location"))
		return err == nil && strings.HasPrefix(u.Path, e.RedirectTo)
	default:
		return e.BodyContains != "" && bytes.Contains(body, []byte(e.BodyContains))
	}
}

// begin signs in.
func (c *SessionConfig) begin(ctx context.Context, client *http.Client, base *url.URL, username string, password secret.Value) (*session, error) {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		return nil, err
	}
	visit := *client
	visit.Jar = jar
	visit.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	at, err := onOrigin(base, c.Path)
	if err != nil {
		return nil, err
	}
	fill := func(text string, escape func(string) string) string {
		return strings.NewReplacer("{!$Credential.Username}", escape(username), "{!$Credential.Password}", escape(password.Reveal())).Replace(text)
	}
	plain := func(s string) string { return s }
	header := http.Header{"User-Agent": {"provost"}, "Accept": {"application/json, text/html;q=0.9, */*;q=0.5"}}
	for name, value := range c.Headers {
		value = fill(value, plain)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, host.Errorf(host.InvalidInput, "the header %s of the sign-in would hold a line break", name)
		}
		header.Set(name, value)
	}
	form := url.Values{}
	for name, value := range c.Form {
		form.Set(name, fill(value, plain))
	}
	if c.CSRF.Path != "" {
		token, err := c.csrf(ctx, &visit, base, jar)
		if err != nil {
			return nil, err
		}
		switch place, name, _ := strings.Cut(c.CSRF.SendAs, ":"); place {
		case "header":
			header.Set(name, token)
		default:
			form.Set(orElse(name, c.CSRF.Field), token)
		}
	}
	var body []byte
	switch {
	case c.JSON != nil:
		filled := fillJSON(c.JSON, func(s string) string { return fill(s, plain) })
		if body, err = json.Marshal(filled); err != nil {
			return nil, err
		}
		header.Set("Content-Type", "application/json")
	case len(form) > 0:
		body = []byte(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	status, answered, raw, err := ask(ctx, &visit, orElse(c.Method, http.MethodPost), at, header, body)
	if err != nil {
		return nil, err
	}
	if status >= 500 || status == http.StatusTooManyRequests {
		e := host.Errorf(host.Unavailable, "the sign-in answered %d", status)
		e.HTTPStatus = status
		return nil, e
	}
	refused := status >= 400 || c.EndedWhen.RedirectTo != "" && status >= 300 && c.ended(status, answered, nil)
	got := &session{}
	if c.Keep == "token" {
		if name, ok := strings.CutPrefix(c.Token, "header:"); ok {
			got.Token = answered.Get(name)
		} else if document, err := DecodeAnswer(raw); err == nil {
			got.Token, _ = Lookup(document, c.Token)
		}
		refused = refused || got.Token == ""
		if strings.ContainsAny(got.Token, "\r\n\x00") || len(got.Token) > longestToken {
			return nil, host.Errorf(host.Unauthorized, "the sign-in answered what can be no token")
		}
	} else {
		got.Cookies = map[string]string{}
		for _, cookie := range jar.Cookies(base) {
			if len(got.Cookies) < 100 && len(cookie.Value) <= 8<<10 {
				got.Cookies[cookie.Name] = cookie.Value
			}
		}
		refused = refused || len(got.Cookies) == 0
	}
	if refused {
		e := host.Errorf(host.Unauthorized, "the sign-in was refused (%d); check the user name and the password", status)
		e.HTTPStatus = status
		return nil, e
	}
	return got, nil
}

// csrf asks for the page that gives a token.
func (c *SessionConfig) csrf(ctx context.Context, client *http.Client, base *url.URL, jar http.CookieJar) (string, error) {
	at, err := onOrigin(base, c.CSRF.Path)
	if err != nil {
		return "", err
	}
	_, header, raw, err := ask(ctx, client, http.MethodGet, at, http.Header{"User-Agent": {"provost"}}, nil)
	if err != nil {
		return "", err
	}
	token := ""
	switch {
	case c.CSRF.Cookie != "":
		for _, cookie := range jar.Cookies(at) {
			if cookie.Name == c.CSRF.Cookie {
				token = cookie.Value
			}
		}
	case c.CSRF.Header != "":
		token = header.Get(c.CSRF.Header)
	case c.CSRF.Field != "":
		if document, err := DecodeAnswer(raw); err == nil {
			token, _ = Lookup(document, c.CSRF.Field)
		}
		if token == "" {
			token = hiddenField(raw, c.CSRF.Field)
		}
	}
	if token == "" || strings.ContainsAny(token, "\r\n\x00") {
		return "", host.Errorf(host.Unauthorized, "the page %s gave no token for the sign-in", c.CSRF.Path)
	}
	return token, nil
}

// hiddenField is the value of an input, or the content of a meta element, of a
// page.
func hiddenField(page []byte, name string) string {
	tokens := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return ""
		case html.StartTagToken, html.SelfClosingTagToken:
			t := tokens.Token()
			if t.Data != "input" && t.Data != "meta" {
				continue
			}
			value, named := "", false
			for _, a := range t.Attr {
				switch a.Key {
				case "name":
					named = a.Val == name
				case "value", "content":
					value = a.Val
				}
			}
			if named && value != "" {
				return value
			}
		}
	}
}

// onOrigin is a URL on the endpoint's origin.
func onOrigin(base *url.URL, path string) (*url.URL, error) {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || u.Host != "" || u.Scheme != "" || strings.Contains(path, "\\") {
		return nil, host.Errorf(host.InvalidInput, "%q is no path on the endpoint's origin; begin it with /", path)
	}
	u.Scheme, u.Host = base.Scheme, base.Host
	return u, nil
}

func ask(ctx context.Context, client *http.Client, method string, at *url.URL, header http.Header, body []byte) (int, http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header = header
	answer, err := client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return 0, nil, nil, host.Errorf(host.Unavailable, "the sign-in got no answer: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, mostSessionBytes+1))
	if err != nil || len(raw) > mostSessionBytes {
		return 0, nil, nil, host.Errorf(host.Unavailable, "the sign-in's answer broke off, or is larger than %d bytes", mostSessionBytes)
	}
	return answer.StatusCode, answer.Header, raw, nil
}

// fillJSON is a document with its texts filled in.
func fillJSON(v any, fill func(string) string) any {
	switch v := v.(type) {
	case string:
		return fill(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = fillJSON(value, fill)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fillJSON(v[i], fill)
		}
		return out
	default:
		return v
	}
}

// apply puts the session into a request.
func (g *session) apply(r *http.Request, send Place) {
	if g.Token != "" {
		send.put(r, g.Token)
	}
	for name, value := range g.Cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
}

// secrets are what must not come back to a connector.
func (g *session) secrets() []string {
	var all []string
	if g.Token != "" {
		all = append(all, g.Token)
	}
	for _, v := range g.Cookies {
		all = append(all, v)
	}
	return all
}

// beginSession begins a session as tokens.
func (s *SignIn) beginSession(ctx context.Context, old bool) (*tokens, error) {
	password, err := s.value(ctx, s.secret, old)
	if err != nil {
		return nil, s.unavailable(err)
	}
	got, err := s.Session.begin(ctx, s.options.Client, s.options.Base, s.Username, password)
	if err != nil {
		var known *host.Error
		if errors.As(err, &known) {
			known.Message = "signing in " + s.Name + ": " + known.Message
		}
		return nil, err
	}
	now := s.now().UTC()
	// What tells one session from the next: the token, or all cookies.
	id := got.Token
	if id == "" {
		id = fmt.Sprint(got.Cookies)
	}
	t := &tokens{Access: id, Session: got, Issued: now}
	if s.Session.Lifetime > 0 {
		t.Expires = now.Add(s.Session.Lifetime)
	}
	return t, nil
}
