package callout

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/provosthq/provost/pdk"
)

// scheme is that of a URL over a named credential: callout:Name/path?query.
const scheme = "callout:"

// split takes callout:Name/path?query apart; ok is false for any other URL.
func split(raw string) (name, path, query string, ok bool) {
	rest, ok := strings.CutPrefix(raw, scheme)
	if !ok {
		return "", "", "", false
	}
	rest, query, _ = strings.Cut(rest, "?")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:], query, true
	}
	return rest, "", query, true
}

// mostEncoded is how often a path may be encoded. Nobody who means well does so
// more than twice.
const mostEncoded = 4

// join puts a connector's path and query below the base URL. What could leave
// the base is refused, not cleaned: a connector that means well never sends
// it, and cleaning is where such checks have failed elsewhere.
func join(base *url.URL, path, query string) (*url.URL, *pdk.Error) {
	refuse := func(why string) (*url.URL, *pdk.Error) {
		return nil, pdk.Errorf(pdk.PermissionDenied, "the path of the callout %s; it must stay below the credential's endpoint", why)
	}
	for _, b := range []byte(path + query) {
		if b <= ' ' || b == 0x7f {
			return refuse("holds a control character or a space; escape it with url.PathEscape")
		}
	}
	switch {
	case strings.ContainsAny(path+query, "#"):
		return refuse("holds a fragment (#)")
	case strings.Contains(path, "\\"):
		return refuse("holds a backslash")
	case strings.Contains(path, "//"):
		return refuse("holds //")
	}
	// Look at the path as a server could: decoded as often as there is something
	// to decode, with encoded slashes and backslashes as separators.
	for seen, rounds := path, 0; ; rounds++ {
		if !utf8.ValidString(seen) {
			return refuse("is no UTF-8") // such as %c0%ae, which some take for a dot
		}
		if holdsDots(seen) || holdsDots(norm.NFKC.String(seen)) {
			return refuse("holds a dot segment")
		}
		for _, b := range []byte(seen) {
			if b < ' ' || b == 0x7f {
				return refuse("holds an encoded control character")
			}
		}
		next, err := url.PathUnescape(seen)
		if err != nil {
			if rounds == 0 {
				return refuse("is not escaped right")
			}
			break // a literal % that was escaped
		}
		if next == seen {
			break
		}
		if rounds == mostEncoded {
			return refuse("is encoded over and over")
		}
		seen = next
	}
	escaped := strings.TrimSuffix(base.EscapedPath(), "/") + path
	u := *base
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return refuse("is not escaped right")
	}
	u.Path, u.RawPath, u.RawQuery = plain, escaped, query
	if !below(base, &u) {
		return refuse("leaves the endpoint")
	}
	return &u, nil
}

// holdsDots tells whether a path has a segment that some server takes for one of
// dots: with what it cuts off first, a parameter, a query or a fragment.
func holdsDots(path string) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, "\\", "/"), "/") {
		if i := strings.IndexAny(segment, ";?#"); i >= 0 {
			segment = segment[:i]
		}
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// below tells whether u has the origin of base and a path at or below base's.
func below(base, u *url.URL) bool {
	if u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) || u.User != nil {
		return false
	}
	prefix := strings.TrimSuffix(base.EscapedPath(), "/")
	rest, ok := strings.CutPrefix(u.EscapedPath(), prefix)
	return ok && (rest == "" || rest[0] == '/')
}
