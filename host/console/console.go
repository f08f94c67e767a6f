// Package console is the host's web console: pages that are made here, whole, of
// what an [api.Service] tells, and forms that do with it what a script can do
// over the API. It knows the domain and no engine, store or connector, and
// nothing of it is fetched from elsewhere.
package console

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/a-h/templ"
	"github.com/klauspost/compress/gzhttp"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

//go:generate go tool templ generate

// Path is where the console begins.
const Path = "/console"

// Options are what the console needs.
type Options struct {
	Service api.Service
	// Gate lets people in.
	Gate *access.Gate
	// Version is the daemon's.
	Version string
	// Logger is told of pages that failed; nil for none.
	Logger *slog.Logger
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

type console struct {
	Options
	assets *assets
}

// handler answers a request. What it returns as an error is shown as a page, or
// beside what was pressed where only a part of a page was asked for.
type handler func(w http.ResponseWriter, r *http.Request) error

// Handler serves the console of a host, under [Path], to the subject of each
// request's context ([access.WithSubject]), as far as [Rules] allow.
func Handler(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &console{Options: o, assets: embedded()}
	mux := http.NewServeMux()
	for route, page := range c.pages() {
		mux.Handle(route, c.answer(page, mostOf(route)))
	}
	guarded := Rules.Guard(mux, func(w http.ResponseWriter, r *http.Request, err *host.Error) { c.fail(w, r, err) })
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(512), gzhttp.ContentTypeFilter(gzhttp.CompressAllContentTypeFilter), gzhttp.ExceptContentTypes([]string{"font/woff2"}))
	if err != nil { // only for options that contradict each other
		panic(err)
	}
	return compress(http.NewCrossOriginProtection().Handler(guarded))
}

// mostFormBytes bounds a form.
const mostFormBytes = 1 << 20

// mostOf bounds what is sent to a route, in bytes.
func mostOf(route string) int64 {
	if route == uploadRoute || route == connectorUploadRoute || route == peopleImportRoute {
		return mostUploadBytes
	}
	return mostFormBytes
}

// answer makes an http.Handler of a handler to which so many bytes are sent at
// most.
func (c *console) answer(h handler, most int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if err := h(w, r); err != nil {
			c.fail(w, r, err)
		}
	})
}

// show answers with a page: the frame around content.
func (c *console) show(w http.ResponseWriter, r *http.Request, p Page, content templ.Component) error {
	return c.showWith(w, r, http.StatusOK, p, content)
}

func (c *console) showWith(w http.ResponseWriter, r *http.Request, status int, p Page, content templ.Component) error {
	f, err := c.frame(w, r)
	if err != nil && status == http.StatusOK { // a page that tells of a failure is shown without the counts
		return err
	}
	return c.write(w, r.Context(), status, layout(p, f, content))
}

// part answers with a part of a page, for what is live.
func (c *console) part(w http.ResponseWriter, r *http.Request, content templ.Component) error {
	return c.write(w, r.Context(), http.StatusOK, content)
}

// write makes a page whole before the first byte goes out, so that one that
// fails is no half page.
func (c *console) write(w http.ResponseWriter, ctx context.Context, status int, content templ.Component) error {
	var b bytes.Buffer
	if err := content.Render(withNow(ctx, c.Now()), &b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who asked may be gone
	return nil
}

// isPart tells whether a part of a page is asked for, and not the page.
func isPart(r *http.Request) bool { return r.Header.Get("HX-Request") == "true" }

// done ends what was pressed: the reader goes to a page, which says what is
// different now.
func (c *console) done(w http.ResponseWriter, r *http.Request, to string, f Flash) error {
	setFlash(w, r, f)
	if isPart(r) {
		w.Header().Set("HX-Location", to)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// refused leads back to a page that says why something was not done. What nobody
// can do something about is a page of its own.
func (c *console) refused(w http.ResponseWriter, r *http.Request, to string, err error) error {
	if code := host.CodeOf(err); isPart(r) || code.HTTPStatus() == http.StatusInternalServerError || code == host.NotFound {
		return err
	}
	return c.done(w, r, to, Flash{Tone: "bad", Text: message(err)})
}
