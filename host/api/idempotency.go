package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// KeyHeader makes a POST safe to send again: within a day, one with the same key
// is done once and answered the same.
const KeyHeader = "Idempotency-Key"

// Bounds of what has a key, in bytes: the key itself, the body, and the answer
// that is kept.
const (
	longestKey  = 255
	mostKeyed   = 1 << 20
	mostToldOne = 256 << 10
)

// Once names a call that is done once. Both are digests.
type Once struct {
	// Key is of who calls what with which key, Body of what was sent.
	Key, Body string
}

// Told is what was answered to a call that is done once.
type Told struct {
	Status      int
	ContentType string
	// Body is empty where it is not kept: it was too large, or had a secret in it.
	Body string
	Kept bool
}

// OnceService is what the API needs to do a call once.
type OnceService interface {
	// BeginOnce notes that a call begins; nil where it is the first. It is a
	// Conflict while the first is under way, and InvalidInput where the key was used
	// for another body.
	BeginOnce(ctx context.Context, o Once) (*Told, error)
	// EndOnce notes what was answered; nil lets the call be made again.
	EndOnce(ctx context.Context, o Once, told *Told) error
}

// unkept are the calls whose answers have what must be stored nowhere.
var unkept = regexp.MustCompile(`^/api/v1/(access/|settings/credentials/|credentials/[^/]+/(authorize|rotate))`)

// idempotent does a POST with a key once.
func idempotent(s OnceService, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(KeyHeader)
		if key == "" || r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		o, err := onceOf(r, key)
		if err != nil {
			problem(err).write(w)
			return
		}
		told, err := s.BeginOnce(r.Context(), o)
		if err != nil {
			if host.CodeOf(err) == host.Conflict {
				w.Header().Set("Retry-After", "1")
			}
			problem(err).write(w)
			return
		}
		if told != nil {
			told.again(w)
			return
		}
		// Who asked may go; what was done is noted all the same.
		ctx := context.WithoutCancel(r.Context())
		kept, ended := &buffered{header: http.Header{}}, false
		defer func() {
			if !ended { // it panicked: nobody knows what was done
				_ = s.EndOnce(ctx, o, nil)
			}
		}()
		next.ServeHTTP(kept, r)
		ended = true
		if err := s.EndOnce(ctx, o, kept.told(r.URL.Path)); err != nil {
			problem(err).write(w)
			return
		}
		for name, values := range kept.header {
			w.Header()[name] = values
		}
		w.WriteHeader(max(kept.status, http.StatusOK))
		_, _ = w.Write(kept.body.Bytes()) // who asked may be gone
	})
}

// onceOf names a call, and gives it its body back.
func onceOf(r *http.Request, key string) (o Once, err error) {
	if len(key) > longestKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return o, &host.Error{Code: host.InvalidInput, Field: KeyHeader, Message: "must be 255 letters of ASCII or fewer"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, mostKeyed))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return o, &host.Error{Code: host.InvalidInput, Field: KeyHeader, Message: "is for bodies of 1 MiB or less; an import is made again without harm"}
	} else if err != nil {
		return o, host.Errorf(host.InvalidInput, "the body can't be read: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	ctx := r.Context()
	o.Key = digest(subjectName(access.SubjectOf(ctx)), host.ActorOf(ctx), r.Method, r.URL.Path, key)
	if unkept.MatchString(r.URL.Path) {
		body = nil // a digest that is quickly made would tell a password to who guesses
	}
	o.Body = digest(r.URL.RawQuery, r.Header.Get(DryRunHeader), string(body))
	return o, nil
}

func digest(parts ...string) string {
	text, _ := json.Marshal(parts) // texts can be written
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// told is what is kept of an answer; nothing of one that says to try again.
func (b *buffered) told(path string) *Told {
	if b.status >= 500 || b.status == http.StatusTooManyRequests || b.status == http.StatusUnauthorized {
		return nil
	}
	t := &Told{Status: max(b.status, http.StatusOK), ContentType: b.header.Get("Content-Type")}
	if b.body.Len() <= mostToldOne && !unkept.MatchString(path) {
		t.Kept, t.Body = true, b.body.String()
	}
	return t
}

// again answers as before.
func (t *Told) again(w http.ResponseWriter) {
	if !t.Kept {
		problem(host.Errorf(host.Conflict, "this was done already, with HTTP %d; the answer is not kept: it was large, or had a secret in it", t.Status)).write(w)
		return
	}
	if t.ContentType != "" {
		w.Header().Set("Content-Type", t.ContentType)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(t.Status)
	_, _ = io.WriteString(w, t.Body) // who asked may be gone
}
