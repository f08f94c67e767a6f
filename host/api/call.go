package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/provosthq/provost/host"
)

// CallHeader names one call of the API. Whoever calls may give it a name of
// their own, by it or by X-Request-Id; the answer, the log and the audit trail
// have it.
const CallHeader = "Request-Id"

// Options are for [Handler].
type Options struct {
	// Version is the daemon's.
	Version string
	// Logger is told of each call, at the level debug, and of each that failed
	// because of us; nil for nobody.
	Logger *slog.Logger
	// Events feeds GET /api/v1/events; without it there is none to be had.
	Events *Events
	// Bounds are what one subject may call, a second and at once; zero values, and
	// nil, are [DefaultRate] and [DefaultBurst]. They are asked for at each call. Who
	// owns this machine's data is not bound.
	Bounds func() (perSecond float64, burst int)
	// Still tells whether the subject of a context may go on with what it began;
	// nil for always.
	Still func(context.Context) (bool, error)
}

// longestCall is the most bytes of a call's name.
const longestCall = 128

// validCall tells whether a name can stand in a header and a log.
func validCall(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~', c == ':', c == '/', c == '=', c == '+':
		default:
			return false
		}
	}
	return name != "" && len(name) <= longestCall
}

// called gives each call a name, and logs it. The log has the route, not the
// path, which may have a username in it.
func called(log *slog.Logger, mux *routes, next http.Handler) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get(CallHeader)
		if name == "" {
			name = r.Header.Get("X-Request-Id")
		}
		if !validCall(name) {
			name = host.NewID()
		}
		w.Header().Set(CallHeader, name)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx := host.WithCall(r.Context(), name)
		seen := &watched{ResponseWriter: w, status: http.StatusOK}
		began := time.Now()
		next.ServeHTTP(seen, r.WithContext(ctx))
		_, route := mux.Handler(r)
		facts := []any{"route", route, "status", seen.status, "took", time.Since(began)}
		if seen.status == http.StatusInternalServerError {
			log.ErrorContext(ctx, "a call failed", append(facts, "problem", string(seen.problem))...)
			return
		}
		log.DebugContext(ctx, "called", facts...)
	})
}

// watched notes what is answered.
type watched struct {
	http.ResponseWriter
	status int
	begun  bool
	// problem is the beginning of the answer where it failed because of us.
	problem []byte
}

func (w *watched) WriteHeader(status int) {
	if !w.begun {
		w.begun, w.status = status >= 200, status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(p []byte) (int, error) {
	w.begun = true
	if w.status == http.StatusInternalServerError && len(w.problem) == 0 {
		w.problem = append(w.problem, p[:min(len(p), 2048)]...)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for those who ask the writer itself.
func (w *watched) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() } // not every writer can

// compressed shortens large answers for who takes gzip; what is sent bit by bit
// goes as it is.
func compressed(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(2048), gzhttp.ContentTypes([]string{"application/json", "application/problem+json", "application/openapi+json", "application/yaml", "application/openapi+yaml", "text/html", "text/css"}))
	if err != nil {
		panic(err) // the options are ours
	}
	return wrap(next)
}
