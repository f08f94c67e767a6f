package callout

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf16"

	"github.com/provosthq/provost/host/signin"
)

// shortestMasked is how long a secret must be to be masked in answers: shorter
// ones would tear up ordinary text.
const shortestMasked = 4

// masks remembers the forms of the secrets that a credential last signed in
// with: they are the same from one request to the next. more are secrets beside
// the sign-in: a proxy's.
type masks struct {
	last atomic.Pointer[formsOf]
	more []string
}

type formsOf struct{ secrets, forms []string }

// of are the forms in which the secrets of sign-ins may come back.
func (m *masks) of(auths ...*signin.Auth) []string {
	var secrets []string
	for _, a := range auths {
		if a != nil {
			secrets = append(secrets, a.Secrets()...)
		}
	}
	if known := m.last.Load(); known != nil && slices.Equal(known.secrets, secrets) {
		return known.forms
	}
	next := &formsOf{secrets, forms(append(slices.Clone(secrets), m.more...))}
	m.last.Store(next)
	return next.forms
}

// forms are those in which secrets may come back, the longest first.
func forms(secrets []string) []string {
	var all []string
	for _, s := range secrets {
		if len(s) < shortestMasked {
			continue
		}
		for _, form := range []string{s, jsonEscaped(s), htmlJSON(s), asciiJSON(s), html.EscapeString(s), url.QueryEscape(s), url.PathEscape(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))),
			strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "="), strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(s)), "=")} {
			if form != "" && !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// htmlJSON is a text within JSON as Go's servers write it.
func htmlJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}

// asciiJSON is a text within JSON as those write it that know ASCII only.
func asciiJSON(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(jsonEscaped(s))) {
		if unit < 0x80 {
			b.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.String()
}

const secretMask = "***"

// withoutSecrets takes secrets out of an answer that repeats them.
func (r Response) withoutSecrets(secrets []string) Response {
	for _, s := range secrets {
		if bytes.Contains(r.Body, []byte(s)) {
			r.Body = bytes.ReplaceAll(r.Body, []byte(s), []byte(secretMask))
		}
		for name, v := range r.Header {
			if strings.Contains(v, s) {
				r.Header[name] = strings.ReplaceAll(v, s, secretMask)
			}
		}
		if r.Err != nil && strings.Contains(r.Err.Message, s) {
			e := *r.Err
			e.Message = strings.ReplaceAll(e.Message, s, secretMask)
			r.Err = &e
		}
	}
	return r
}
