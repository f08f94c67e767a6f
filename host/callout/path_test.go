package callout

import (
	"net/url"
	"strings"
	"testing"
)

func FuzzAPathThatIsLetThroughStaysBelowTheEndpoint(f *testing.F) {
	for _, seed := range []string{"/Users", "/Users/a%2Fb", "/%2e%2e/x", "/a;b/..", "/..%5c", "", "/é", "/%25%32%65"} {
		f.Add(seed, "a=b")
	}
	base, err := url.Parse("https://acme.example.com/scim/v2")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if path != "" && path[0] != '/' {
			return // split never makes one
		}
		u, refused := join(base, path, query)
		if refused != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q is no URL: %v", u, err)
		}
		clean := again.JoinPath()
		if again.Host != base.Host || again.Scheme != base.Scheme || again.User != nil || again.Fragment != "" ||
			!strings.HasPrefix(clean.Path, "/scim/v2") || strings.Contains(again.Path, "/../") {
			t.Fatalf("path %q, query %q leave the endpoint: %q", path, query, u)
		}
	})
}
