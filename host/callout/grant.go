package callout

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A grant is what an operator lets one connector reach outside its credential,
// without any sign-in: "files.example.com", "*.example.com:8443",
// "GET,HEAD files.example.com", "http://127.0.0.1:9000".
type grant struct {
	methods []string // nil: all
	scheme  string   // https, unless http is asked for
	host    string   // in lower case; a name that *. goes before is kept as ".example.com"
	port    string
}

// CheckGrant tells what is wrong with a grant.
func CheckGrant(text string) error {
	_, err := parseGrant(text)
	return err
}

func parseGrant(text string) (grant, error) {
	g := grant{scheme: "https"}
	bad := func(format string, args ...any) (grant, error) {
		return grant{}, fmt.Errorf("%q %s", clip(text, 100), fmt.Sprintf(format, args...))
	}
	rest := text
	if words, host, ok := strings.Cut(text, " "); ok {
		rest = host
		for m := range strings.SplitSeq(words, ",") {
			if !slices.Contains(methods, m) {
				return bad("asks for the method %q, which is none of %s", clip(m, 20), strings.Join(methods, ", "))
			}
			g.methods = append(g.methods, m)
		}
	}
	if scheme, host, ok := strings.Cut(rest, "://"); ok {
		if rest = host; scheme != "https" && scheme != "http" {
			return bad("has the scheme %q; there is https and http", clip(scheme, 20))
		}
		g.scheme = scheme
	}
	u, err := url.Parse(g.scheme + "://" + rest)
	if err != nil || u.Host == "" || u.Host != rest || u.Hostname() == "" || strings.ContainsAny(rest, " /?#@\\") {
		return bad("is no host or host:port, with methods before it and https:// or http://, or neither")
	}
	g.host, g.port = strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), portWith(u)
	if suffix, ok := strings.CutPrefix(g.host, "*."); ok {
		if _, err := netip.ParseAddr(suffix); err == nil || strings.Count(suffix, ".") == 0 || strings.Contains(suffix, "*") {
			return bad("is too wide: *. goes before a name with a dot in it, such as *.example.com")
		}
		g.host = "." + suffix
	} else if strings.Contains(g.host, "*") {
		return bad("has * where it may not be: only *. at the front stands for any name")
	}
	if why := wrongHost(strings.TrimPrefix(g.host, ".")); why != "" {
		return bad("can't be granted: %s", why)
	}
	return g, nil
}

// portWith is the port of a URL, which may be that of its scheme.
func portWith(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	default:
		return "443"
	}
}

// allows tells whether a request may be made.
func (g grant) allows(method string, u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch {
	case u.Scheme != g.scheme, portWith(u) != g.port:
		return false
	case g.methods != nil && !slices.Contains(g.methods, method):
		return false
	case strings.HasPrefix(g.host, "."):
		return strings.HasSuffix(host, g.host) && len(host) > len(g.host)
	default:
		return host == g.host
	}
}

// granted tells whether one of the grants allows a request.
func granted(grants []string, method string, u *url.URL) bool {
	return slices.ContainsFunc(grants, func(text string) bool {
		g, err := parseGrant(text)
		return err == nil && g.allows(method, u)
	})
}

// methods are those that there are.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Covers tells whether grants allow all that another one would.
func Covers(grants []string, text string) bool {
	wish, err := parseGrant(text)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(grants, func(text string) bool {
		g, err := parseGrant(text)
		return err == nil && g.covers(wish)
	})
}

func (g grant) covers(other grant) bool {
	if g.scheme != other.scheme || g.port != other.port {
		return false
	}
	if g.methods != nil {
		if other.methods == nil || slices.ContainsFunc(other.methods, func(m string) bool { return !slices.Contains(g.methods, m) }) {
			return false
		}
	}
	return g.host == other.host || strings.HasPrefix(g.host, ".") && strings.HasSuffix(other.host, g.host)
}
