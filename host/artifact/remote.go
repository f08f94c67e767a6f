package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

const (
	// mostTime bounds one fetch as a whole, with every redirect and blob.
	mostTime      = 2 * time.Minute
	mostRedirects = 5
)

// newTransport dials and waits with bounds of its own, so that a registry that
// is down is known as that soon.
func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = 10*time.Second, 30*time.Second
	t.IdleConnTimeout, t.MaxResponseHeaderBytes = 5*time.Second, 1<<20
	return t
}

// bundle is what a source gave: a record and the documents that it names, as far
// as they were fetched just now; the others are in the cache.
type bundle struct {
	record record
	blobs  map[string][]byte
	cache  cache
}

func (s *Store) bundle(r record) bundle {
	return bundle{record: r, blobs: map[string][]byte{}, cache: s.cache}
}

// add takes in a document and returns its digest.
func (b bundle) add(text []byte) string {
	digest := digestOf(text)
	b.blobs[digest] = text
	return digest
}

func (b bundle) blob(digest string, most int64) ([]byte, bool) {
	if text, ok := b.blobs[digest]; ok {
		return text, int64(len(text)) <= most
	}
	return b.cache.blob(digest, most)
}

// digests are of every document that belongs to it.
func (b bundle) digests() []string {
	list := append([]string{b.record.Wasm}, b.record.Signatures...)
	if b.record.Manifest == "" {
		return list
	}
	list = append(list, b.record.Manifest)
	if text, ok := b.blob(b.record.Manifest, mostManifest); ok {
		if m, err := parseIndex(text); err == nil {
			for _, layer := range m.Layers {
				list = append(list, layer.Digest.Encoded())
			}
		}
	}
	return list
}

// remote gets what an address or a registry has. What is pinned and kept is
// taken as it is; else it is asked for, and what is kept is the way out where
// there is no answer. Nothing is kept that is not as the options demand.
func (s *Store) remote(ctx context.Context, src Source, o Options) (Artifact, [][]byte, error) {
	known, ok := s.cache.record(src.Text)
	if ok && (src.Digest != "" || o.Digest != "") {
		if a, signatures, err := s.accept(src, s.bundle(known), o); err == nil {
			return a, signatures, nil
		}
	}
	fresh, err := s.fetch(ctx, src, known, o)
	if err == nil {
		a, signatures, err := s.accept(src, fresh, o)
		if err != nil {
			return Artifact{}, nil, err
		}
		if err := s.cache.keep(fresh); err != nil {
			s.options.Logger.WarnContext(ctx, "a connector that was fetched can't be kept; the next start needs the network", "source", src.Text, "error", err)
		}
		return a, signatures, nil
	}
	if !ok || ctx.Err() != nil || !isUnreachable(err) {
		return Artifact{}, nil, err
	}
	a, signatures, heldErr := s.accept(src, s.bundle(known), o)
	if heldErr != nil {
		return Artifact{}, nil, host.Errorf(host.CodeOf(err), "%s; the version of %s in the cache does not do: %s", err.Error(), known.FetchedAt.UTC().Format(time.RFC3339), heldErr.Error())
	}
	a.Stale = fmt.Sprintf("%s; the version that was fetched %s is used", err.Error(), known.FetchedAt.UTC().Format(time.RFC3339))
	s.options.Logger.WarnContext(ctx, "a connector's source can't be asked; the version in the cache is used", "source", src.Text, "digest", a.Digest, "error", err)
	return a, signatures, nil
}

// isUnreachable tells whether the source did not give its artifact, other than
// one that gave a wrong one.
func isUnreachable(err error) bool {
	switch host.CodeOf(err) {
	case host.Unavailable, host.Unauthorized, host.NotFound, host.RateLimited:
		return true
	}
	return false
}

// accept makes the artifact of a bundle and verifies it.
func (s *Store) accept(src Source, b bundle, o Options) (a Artifact, signatures [][]byte, err error) {
	if src.Kind == OCI {
		a, err = b.packed(src, o)
	} else {
		a, err = b.plain(src, o)
	}
	if err != nil {
		return Artifact{}, nil, err
	}
	for _, digest := range b.record.Signatures {
		if text, ok := b.blob(digest, mostSignature); ok {
			signatures = append(signatures, text)
		}
	}
	if a, err = verified(a, signatures, o); err == nil {
		err = checkWishes(a, src.Digest != "")
	}
	if err != nil {
		return Artifact{}, nil, err
	}
	return a, signatures, nil
}

func (b bundle) plain(src Source, o Options) (Artifact, error) {
	wasm, ok := b.blob(b.record.Wasm, o.maxBytes())
	if !ok {
		return Artifact{}, host.Errorf(host.Unavailable, "%s: is not in the cache", src.Text)
	}
	name := path.Base(src.URL.Path)
	return Artifact{Name: strings.TrimSuffix(name, path.Ext(name)), Source: src.Text, Resolved: src.Text + "@sha256:" + b.record.Wasm, Wasm: wasm, Digest: b.record.Wasm}, nil
}

func (s *Store) fetch(ctx context.Context, src Source, known record, o Options) (bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	if src.Kind == OCI {
		return s.fetchOCI(ctx, src, o)
	}
	return s.fetchHTTPS(ctx, src, known, o)
}

// addressed gets the module that a manifest names by its address.
func (s *Store) addressed(ctx context.Context, m Module, o Options) (Artifact, [][]byte, error) {
	src, err := ParseSource(m.URL, "")
	if err != nil {
		return Artifact{}, nil, err
	}
	o.Digest = m.Hash
	// Who signed it is asked of the whole, with the manifest.
	o.RequireSignature, o.Accepted, o.Signers = false, nil, nil
	a, signatures, err := s.remote(ctx, src, o)
	a.Resolved = ""
	return a, signatures, err
}

// fetchHTTPS fetches a file and the signature beside it.
func (s *Store) fetchHTTPS(ctx context.Context, src Source, known record, o Options) (bundle, error) {
	b := s.bundle(record{Source: src.Text, FetchedAt: s.options.Now()})
	etag := known.ETag
	if _, ok := s.cache.blob(known.Wasm, o.maxBytes()); !ok {
		etag = ""
	}
	got, err := s.get(ctx, src.URL, o.maxBytes(), etag)
	switch {
	case err != nil:
		return bundle{}, err
	case got == nil: // as it was
		b.record.Wasm, b.record.ETag = known.Wasm, known.ETag
	default:
		if err := checkModule(src.Text, got.body); err != nil {
			return bundle{}, err
		}
		b.record.Wasm, b.record.ETag = b.add(got.body), got.etag
	}
	beside := *src.URL
	beside.Path, beside.RawPath = beside.Path+SignatureSuffix, ""
	signature, err := s.get(ctx, &beside, mostSignature, "")
	switch host.CodeOf(err) {
	case "":
		b.record.Signatures = []string{b.add(signature.body)}
	case host.NotFound: // it has none
	default:
		return bundle{}, err
	}
	return b, nil
}

type answer struct {
	body []byte
	etag string
}

// get asks an address; nil is the answer that it is as the etag says. It is
// https from the first to the last, and no sign-in goes along.
func (s *Store) get(ctx context.Context, u *url.URL, most int64, etag string) (*answer, error) {
	fail := func(code host.Code, format string, args ...any) (*answer, error) {
		return nil, host.Errorf(code, "%s: "+format, append([]any{u.Redacted()}, args...)...)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fail(host.InvalidInput, "%w", err)
	}
	r.Header.Set("User-Agent", "provost")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := s.client(true).Do(r)
	if err != nil {
		var known *host.Error
		if errors.As(err, &known) {
			return fail(known.Code, "%s", known.Message)
		}
		return fail(host.Unavailable, "can't be asked: %w", withoutAddress(err))
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified && etag != "":
		return nil, nil
	case code == http.StatusOK:
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fail(host.Unauthorized, "is answered with %s; an address here must need no sign-in, oci:// may have one", resp.Status)
	case code == http.StatusNotFound || code == http.StatusGone:
		return fail(host.NotFound, "is answered with %s", resp.Status)
	default:
		return fail(host.Unavailable, "is answered with %s", resp.Status)
	}
	if resp.ContentLength > most {
		return nil, tooLarge(u.Redacted(), most)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return fail(host.Unavailable, "ended after %d bytes: %w", len(body), withoutAddress(err))
	}
	if int64(len(body)) > most {
		return nil, tooLarge(u.Redacted(), most)
	}
	return &answer{body, resp.Header.Get("ETag")}, nil
}

// client performs HTTP. What began with TLS stays with it.
func (s *Store) client(secure bool) *http.Client {
	return &http.Client{Transport: s.options.Transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > mostRedirects:
			return host.Errorf(host.Unavailable, "is redirected more than %d times", mostRedirects)
		case secure && r.URL.Scheme != "https":
			return host.Errorf(host.InvalidInput, "is redirected to %s://%s; only https is followed", r.URL.Scheme, r.URL.Host)
		}
		return nil
	}}
}

// withoutAddress is the cause: the address is said already, and may be long.
func withoutAddress(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
