package artifact

import (
	"net/url"
	"path/filepath"
	"strings"
	"unicode"

	"oras.land/oras-go/v2/registry"

	"github.com/provosthq/provost/host"
)

// Kind is how a source is reached.
type Kind string

// The kinds of sources.
const (
	// Builtin is part of the binary: builtin:NAME.
	Builtin Kind = "builtin"
	// Local is a .wasm file, a folder with one connector, or a manifest (.json).
	Local Kind = "local"
	// HTTPS is the address of a .wasm file.
	HTTPS Kind = "https"
	// OCI is an artifact in a registry: oci://registry/repository:tag@sha256:….
	OCI Kind = "oci"
	// Uploaded is what somebody uploaded: uploaded:DIGEST.
	Uploaded Kind = "uploaded"
)

// BuiltinPrefix begins a source that is built in.
const BuiltinPrefix = "builtin:"

const (
	ociPrefix   = "oci://"
	httpsPrefix = "https://"
	// mostSource bounds the text of a source, in bytes.
	mostSource = 2048
)

// Source is a parsed source.
type Source struct {
	Kind Kind
	// Text is as it was written.
	Text string
	// Name is that of a connector that is built in, or the digest of one that was
	// uploaded.
	Name string
	// Path is absolute, for Local.
	Path string
	// URL is the address, for HTTPS.
	URL *url.URL
	// Repository is registry/repository, for OCI; Tag, Digest or both follow.
	// Digest is that of the artifact's manifest, with "sha256:" before it.
	Repository, Tag, Digest string
}

// ParseSource reads what a configuration or a command names. A relative path
// begins at dir, or at the working directory where it is "".
func ParseSource(text, dir string) (Source, error) {
	fail := func(format string, args ...any) (Source, error) {
		return Source{}, host.Errorf(host.InvalidInput, "source "+format, args...)
	}
	switch {
	case text == "":
		return fail("is empty")
	case len(text) > mostSource:
		return fail("has %d bytes; it may have %d", len(text), mostSource)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fail("%q has a control character", text)
	}
	scheme, rest, ok := strings.Cut(text, ":")
	switch {
	case ok && scheme == "builtin":
		return Source{Kind: Builtin, Text: text, Name: rest}, nil
	case ok && scheme == "uploaded":
		if !isDigest("sha256:" + rest) {
			return fail("%s is no digest of an upload", text)
		}
		return Source{Kind: Uploaded, Text: text, Name: rest}, nil
	case strings.HasPrefix(text, ociPrefix):
		return parseOCI(text)
	case strings.HasPrefix(text, httpsPrefix):
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "" || u.Path == "" || u.Path == "/":
			return fail("%s is no address of a file; write https://host/path/acme.wasm", withoutUser(text))
		case u.User != nil:
			return fail("%s holds a name or a password; an address must not", withoutUser(text))
		case u.Fragment != "":
			return fail("%s has a fragment (#…); pin it with digest: sha256:…", text)
		case strings.HasSuffix(u.Path, ".json"):
			return fail("%s is a manifest; name the .wasm file itself, or keep the manifest in a file here", text)
		}
		return Source{Kind: HTTPS, Text: text, URL: u}, nil
	case strings.Contains(text, "://"):
		return fail("%s is of no kind that is known; there is builtin:NAME, a path, https:// and oci://", withoutUser(text))
	}
	path := text
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fail("%s: %w", text, err)
	}
	return Source{Kind: Local, Text: text, Path: path}, nil
}

func parseOCI(text string) (Source, error) {
	fail := func(why string) (Source, error) {
		return Source{}, host.Errorf(host.InvalidInput, "source %s %s; write oci://registry/repository:tag@sha256:…, the tag or the digest may be left out", withoutUser(text), why)
	}
	name, digest, pinned := strings.Cut(strings.TrimPrefix(text, ociPrefix), "@")
	if strings.ContainsAny(name, "?#") || strings.Contains(digest, "@") {
		return fail("is no reference to an artifact")
	}
	ref, err := registry.ParseReference(name)
	if err != nil || ref.Registry == "" || ref.Repository == "" {
		return fail("is no reference to an artifact")
	}
	s := Source{Kind: OCI, Text: text, Repository: ref.Registry + "/" + ref.Repository, Tag: ref.Reference}
	if pinned {
		if !isDigest(digest) {
			return fail("has a digest that is not sha256: and 64 hex digits in lower case")
		}
		s.Digest = digest
	}
	if s.Tag == "" && s.Digest == "" {
		return fail("names neither a tag nor a digest")
	}
	return s, nil
}

// isDigest tells whether it is a SHA-256 as OCI writes it.
func isDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// reference is what the registry is asked for: the digest, where there is one.
func (s Source) reference() string {
	if s.Digest != "" {
		return s.Digest
	}
	return s.Tag
}

// withoutUser takes what may be a password out of an address that is wrong.
func withoutUser(text string) string {
	if i := strings.LastIndex(text, "@"); i >= 0 && !isDigest(text[i+1:]) {
		return "…" + text[i:]
	}
	return text
}
