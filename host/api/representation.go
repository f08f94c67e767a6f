package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/provosthq/provost/host"
)

// ETagOf names a representation: another one has another name.
func ETagOf(body []byte) string {
	sum := sha256.Sum256(bytes.TrimSpace(body))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// UserETag names what a user is: whoever changes one may say with it what the
// change is of.
func UserETag(u *host.User) string {
	text, _ := json.Marshal(u) // a user can be written
	return ETagOf(text)
}

// Matches tells whether an If-Match or If-None-Match names a representation.
func Matches(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || part == etag {
			return true
		}
	}
	return false
}

// mostFields bounds what fields names.
const mostFields = 100

// represented answers what is read, whole and in JSON: with an ETag, not at all
// where whoever asks has it (If-None-Match), and with fields only some members.
func represented(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead || streamed(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		kept := &buffered{header: http.Header{}}
		next.ServeHTTP(kept, r)
		body := kept.body.Bytes()
		isJSON := strings.HasPrefix(kept.header.Get("Content-Type"), "application/json")
		if names := r.URL.Query().Get("fields"); names != "" && kept.status == http.StatusOK && isJSON {
			sparse, err := only(body, strings.Split(names, ","))
			if err != nil {
				refuse(w, r, err)
				return
			}
			body = sparse
		}
		h := w.Header()
		for name, values := range kept.header {
			h[name] = values
		}
		h.Del("Content-Length")
		if kept.status == http.StatusOK {
			if h.Get("ETag") == "" {
				h.Set("ETag", ETagOf(body))
			}
			h.Set("Cache-Control", "private, no-cache")
			if match := r.Header.Get("If-None-Match"); match != "" && Matches(match, h.Get("ETag")) {
				h.Del("Content-Type")
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		w.WriteHeader(kept.status)
		_, _ = w.Write(body) // who asked may be gone
	})
}

// streamed tells what is read bit by bit.
func streamed(path string) bool {
	return path == EventsPath || path == "/api/v1/support-bundle" || strings.HasSuffix(path, "/export")
}

// only leaves of an object, or of each in a list, the members that are named.
func only(body []byte, names []string) ([]byte, *host.Error) {
	if len(names) > mostFields {
		return nil, &host.Error{Code: host.InvalidInput, Field: "fields", Message: "names more than 100 members"}
	}
	keep := map[string]bool{}
	for _, n := range names {
		keep[strings.TrimSpace(n)] = true
	}
	pick := func(object map[string]json.RawMessage) {
		for name := range object {
			if !keep[name] {
				delete(object, name)
			}
		}
	}
	var list []map[string]json.RawMessage
	var one map[string]json.RawMessage
	var picked any
	switch {
	case json.Unmarshal(body, &list) == nil:
		for _, object := range list {
			pick(object)
		}
		picked = list
	case json.Unmarshal(body, &one) == nil:
		pick(one)
		picked = one
	default:
		return nil, &host.Error{Code: host.InvalidInput, Field: "fields", Message: "the answer has no members"}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(picked); err != nil {
		return nil, host.Errorf(host.Internal, "%w", err)
	}
	return out.Bytes(), nil
}
