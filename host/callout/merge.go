package callout

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// mergeField is {!$Credential.Password} and its like, as it is or as a form has
// it.
var mergeField = regexp.MustCompile(`(?:\{!\$|%7[Bb]%21%24)Credential\.([A-Za-z]+)(?:\}|%7[Dd])`)

// mergeMark stands in every one of them, and is quickly looked for.
const mergeMark = "Credential."

// merge fills in the merge fields of a request, after it has left the
// connector. Where the credential does not allow them in a place, or the call's
// input or an answer could have brought one, a request that has one is refused:
// what a person can write into his own name must not become a password.
func (c *credential) merge(caller Caller, auth *signin.Auth, header http.Header, body []byte) ([]byte, *pdk.Error) {
	refuse := func(place, why string) *pdk.Error {
		return pdk.Errorf(pdk.PermissionDenied, "the %s of the request has a merge field, and %s", place, why)
	}
	const tainted = "the input of the call or an answer has {! in it, so that it may be somebody else's"
	for name, values := range header {
		for i, v := range values {
			if !strings.Contains(v, mergeMark) || !mergeField.MatchString(v) {
				continue
			}
			switch {
			case !c.MergeHeaders:
				return nil, refuse("header "+name, "merge_fields.headers of "+c.Name+" does not allow it")
			case caller.NoMerge:
				return nil, refuse("header "+name, tainted)
			}
			filled, err := fill(v, auth, func(s string) (string, error) { return s, nil })
			if err != nil {
				return nil, err
			}
			if !httpguts.ValidHeaderFieldValue(filled) {
				return nil, pdk.Errorf(pdk.Unauthorized, "what the merge field of the header %s stands for can't stand in a header", name)
			}
			header[name][i] = filled
		}
	}
	if !bytes.Contains(body, []byte(mergeMark)) || !mergeField.Match(body) {
		return body, nil
	}
	switch {
	case !c.MergeBody:
		return nil, refuse("body", "merge_fields.body of "+c.Name+" does not allow it")
	case caller.NoMerge:
		return nil, refuse("body", tainted)
	}
	filled, err := fill(string(body), auth, escapeFor(header.Get("Content-Type")))
	return []byte(filled), err
}

func fill(text string, auth *signin.Auth, escape func(string) (string, error)) (string, *pdk.Error) {
	var wrong *pdk.Error
	out := mergeField.ReplaceAllStringFunc(text, func(field string) string {
		name := mergeField.FindStringSubmatch(field)[1]
		value, ok := auth.Field(name)
		if !ok {
			wrong = pdk.Errorf(pdk.InvalidInput, "the credential has nothing for the merge field {!$Credential.%s}", clip(name, 40))
			return ""
		}
		value, err := escape(value)
		if err != nil {
			wrong = pdk.Errorf(pdk.InvalidInput, "the merge field {!$Credential.%s} can't stand in such a body: %v", clip(name, 40), err)
		}
		return value
	})
	if wrong != nil {
		return "", wrong
	}
	return out, nil
}

// escapeFor writes a value as it must stand in a body of a content type.
func escapeFor(contentType string) func(string) (string, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")):
		return func(s string) (string, error) { return jsonEscaped(s), nil }
	case kind == "application/x-www-form-urlencoded":
		return func(s string) (string, error) { return url.QueryEscape(s), nil }
	case strings.HasSuffix(kind, "/xml") || strings.HasSuffix(kind, "+xml"):
		return func(s string) (string, error) {
			var b bytes.Buffer
			err := xml.EscapeText(&b, []byte(s))
			return b.String(), err
		}
	case kind == "text/plain":
		return func(s string) (string, error) { return s, nil }
	default:
		return func(string) (string, error) {
			return "", fmt.Errorf("set Content-Type to application/json, application/x-www-form-urlencoded, an XML type or text/plain, so that it can be escaped")
		}
	}
}

// jsonEscaped is a text as it stands within the quotes of a JSON string.
func jsonEscaped(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return ""
	}
	return b.String()[1 : b.Len()-2] // without the quotes and the line's end
}

// Mergeable tells whether a text could bring a merge field into a request that
// a connector makes of it.
func Mergeable(text []byte) bool {
	return bytes.Contains(text, []byte("{!")) || mergeHidden.Match(text)
}

// mergeHidden is {! as JSON or a form may write it.
var mergeHidden = regexp.MustCompile(`(?i)(\\u007b|%7b|&#0*123;|&#x0*7b;)(!|\\u0021|%21|&#0*33;|&#x0*21;)|\{(\\u0021|%21|&#0*33;|&#x0*21;)`)
