package callout

import (
	"fmt"
	"net/url"
	"strconv"
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
		if _, err := url.PathUnescape(seen); err != nil && rounds == 0 {
			return refuse("is not escaped right")
		}
		next := decoded(seen)
		if next == seen {
			break
		}
		if rounds == mostEncoded {
			return refuse("is encoded over and over")
		}
		seen = next
	}
	escaped := strings.TrimSuffix(base.EscapedPath(), "/") + encoded(path)
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

// decoded takes away one layer of escapes as a careless server does: what is no
// escape stays, be it in the midst of others, and so does %u002e count.
func decoded(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if n, ok := hexAt(s, i+1, 2); ok {
			b.WriteByte(byte(n))
			i += 2
		} else if n, ok := hexAt(s, i+2, 4); ok && (s[i+1] == 'u' || s[i+1] == 'U') {
			b.WriteRune(rune(n))
			i += 5
		} else {
			b.WriteByte('%')
		}
	}
	return b.String()
}

// hexAt reads so many hexadecimal digits.
func hexAt(s string, at, digits int) (uint64, bool) {
	if at+digits > len(s) || strings.ContainsAny(s[at:at+digits], "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s[at:at+digits], 16, 64)
	return n, err == nil
}

// encoded escapes what may not stand in a path as it is, and leaves every escape
// that is there: net/url would decode them all first.
func encoded(path string) string {
	first := 0
	for first < len(path) && inPath(path[first]) {
		first++
	}
	if first == len(path) {
		return path
	}
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; inPath(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// inPath tells whether a byte may stand in a path as it is (RFC 3986, 3.3), with
// the escape's own sign.
func inPath(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@/%", c) >= 0
}

// holdsDots tells whether a path has a segment that some server takes for one of
// dots: with what it cuts off first, a parameter, a query, a fragment, or the
// blanks and dots at the end of a name.
func holdsDots(path string) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, "\\", "/"), "/") {
		if i := strings.IndexAny(segment, ";?#"); i >= 0 {
			segment = segment[:i]
		}
		if strings.Contains(segment, ".") && strings.Trim(segment, ". ") == "" {
			return true
		}
	}
	return false
}

// mayFollow tells whether a redirect stays below base, looked at as what a
// connector asks for.
func mayFollow(base, to *url.URL) bool {
	rest, ok := strings.CutPrefix(to.EscapedPath(), strings.TrimSuffix(base.EscapedPath(), "/"))
	if !ok || !below(base, to) {
		return false
	}
	_, refused := join(base, rest, to.RawQuery)
	return refused == nil
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
