package pdk

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestGetPath(t *testing.T) {
	var attributes map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{
		"userName":"ada","name":{"givenName":"Ada"},
		"emails":[{"type":"home","value":"h"},{"type":"Work","value":"w"}],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Analysts","manager":{"value":"9"}}}`), &attributes))
	for _, c := range []struct {
		path string
		want any
	}{
		{"userName", "ada"}, {"username", "ada"}, {"name.givenName", "Ada"}, {"NAME.GIVENNAME", "Ada"},
		{"emails[work].value", "w"}, {"emails[home].value", "h"}, {"emails[other].value", nil},
		{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "Analysts"},
		{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value", "9"},
		{"userName.x", nil}, {"name[work]", nil}, {"none", nil}, {"", nil}, {"a..b", nil},
	} {
		got, ok := GetPath(attributes, c.path)
		assert.Equal(t, c.want, got, c.path)
		assert.Equal(t, c.want != nil, ok, c.path)
	}
}

func TestValidPath(t *testing.T) {
	for path, want := range map[string]bool{
		"a": true, "a.b": true, "a[b].c": true, "a[b]": true, "urn:x:y": true, "urn:ietf:2.0:User:a.b": true,
		"": false, ".": false, "a.": false, "a[": false, "a[]": false, "[a]": false, "a b": false, "a[b": false, "urn:": false, "urn:x:": false, `a"b`: false,
	} {
		assert.Equal(t, want, ValidPath(path), "%q", path)
	}
}

func TestSetPathLeavesTheRest(t *testing.T) {
	attributes := map[string]any{"emails": []any{map[string]any{"type": "home", "value": "h"}}, "x": 1}
	SetPath(attributes, "emails[work].value", "w")
	SetPath(attributes, "emails[work].primary", true)
	SetPath(attributes, "not a path", "x")
	assert.Equal(t, map[string]any{"x": 1, "emails": []any{
		map[string]any{"type": "home", "value": "h"}, map[string]any{"type": "work", "value": "w", "primary": true},
	}}, attributes)
}

func TestWhatIsSetIsFound(t *testing.T) {
	word := rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_$-]{0,6}`)
	step := rapid.Custom(func(t *rapid.T) string {
		s := word.Draw(t, "name")
		if rapid.Bool().Draw(t, "element") {
			s += "[" + word.Draw(t, "type") + "].value"
		}
		return s
	})
	path := rapid.Custom(func(t *rapid.T) string {
		p := ""
		if rapid.Bool().Draw(t, "extension") {
			p = "urn:ietf:params:scim:schemas:extension:" + word.Draw(t, "schema") + ":2.0:User:"
		}
		p += step.Draw(t, "first")
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			p += "." + step.Draw(t, "next")
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		p, value := path.Draw(t, "path"), rapid.Int().Draw(t, "value")
		if !ValidPath(p) {
			t.Fatalf("%q is not valid", p)
		}
		attributes := map[string]any{}
		SetPath(attributes, p, value)
		if got, ok := GetPath(attributes, p); !ok || got != value {
			t.Fatalf("%q: %v %v in %v", p, got, ok, attributes)
		}
	})
}
