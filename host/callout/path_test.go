package callout

import (
	"net/url"
	gopath "path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPathIsLookedAtAsACarelessServerReadsIt(t *testing.T) {
	base, err := url.Parse("https://acme.example.com/scim/v2")
	require.NoError(t, err)
	for path, why := range map[string]string{
		"/%25zz/%252e%252e/x":    "what is no escape keeps nobody from decoding the rest",
		"/%25/%252e%252e/x":      "half an escape neither",
		"/%25u002e%25u002e/x":    "another way to escape",
		"/a%25u002f..%25u005c..": "slashes in that way",
		"/..%20/x":               "blanks that Windows cuts off",
		"/.../x":                 "dots that Windows cuts off",
		"/. ./x":                 "a blank",
	} {
		_, refused := join(base, path, "")
		require.NotNil(t, refused, "%s: %s", why, path)
	}
	for path, sent := range map[string]string{
		"/a%2F%2Fb\"":   "/scim/v2/a%2F%2Fb%22", // net/url would make slashes of them
		"/é":            "/scim/v2/%C3%A9",
		"/a%25b":        "/scim/v2/a%25b",
		"/100%25%20a.b": "/scim/v2/100%25%20a.b",
		"/v1.2/..a/a..": "/scim/v2/v1.2/..a/a..",
		"":              "/scim/v2",
		"/":             "/scim/v2/",
	} {
		u, refused := join(base, path, "")
		require.Nil(t, refused, path)
		require.Equal(t, sent, u.EscapedPath())
	}
}

func TestARedirectIsLookedAtAsWhatAConnectorAsksFor(t *testing.T) {
	base, err := url.Parse("https://acme.example.com/scim/v2")
	require.NoError(t, err)
	for to, may := range map[string]bool{
		"https://acme.example.com/scim/v2/Users/1?x=/../y":    true,
		"https://ACME.example.com/scim/v2":                    true,
		"https://acme.example.com/scim/v2/%252e%252e/admin":   false,
		"https://acme.example.com/scim/v2/a%252f..%252fadmin": false,
		"https://acme.example.com/scim/v2//evil":              false,
		"https://acme.example.com/scim/v2/..;/admin":          false,
		"https://acme.example.com/scim/v2x":                   false,
		"http://acme.example.com/scim/v2/x":                   false,
		"https://acme.example.com:8443/scim/v2/x":             false,
		"https://me@acme.example.com/scim/v2/x":               false,
	} {
		u, err := url.Parse(to)
		require.NoError(t, err)
		require.Equal(t, may, mayFollow(base, u), to)
	}
}

// What is let through has the credential's origin and prefix, as net/url reads
// it, and as a server does that decodes it as often as it likes.
func FuzzAPathThatIsLetThroughStaysBelowTheEndpoint(f *testing.F) {
	for _, seed := range []string{"/Users", "/Users/a%2Fb", "/%2e%2e/x", "/a;b/..", "/..%5c", "", "/é", "/%25%32%65", "/%25zz%252e%252e/", "/%25u002e.", "/a\"%2f", "/..%20", "/%c0%ae"} {
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
		if again.Host != base.Host || again.Scheme != base.Scheme || again.User != nil || again.Fragment != "" || again.RawQuery != query {
			t.Fatalf("path %q, query %q leave the origin: %q", path, query, u)
		}
		for seen, rounds := again.EscapedPath(), 0; rounds < 8; rounds++ {
			clean := gopath.Clean(strings.ReplaceAll(seen, "\\", "/"))
			if clean != "/scim/v2" && !strings.HasPrefix(clean, "/scim/v2/") {
				t.Fatalf("path %q, query %q leave the endpoint: %q, read as %q", path, query, u, seen)
			}
			next := decoded(seen)
			if next == seen {
				break
			}
			seen = next
		}
	})
}
