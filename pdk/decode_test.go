package pdk

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeNamesThePlace(t *testing.T) {
	input := func(b []byte) error { _, err := DecodeInput(b); return err }
	output := func(b []byte) error { _, err := DecodeOutput(b); return err }
	description := func(b []byte) error { _, err := DecodeDescription(b); return err }
	discovery := func(b []byte) error { _, err := DecodeDiscovery(b); return err }
	for _, c := range []struct {
		name, doc, want string
		decode          func([]byte) error
	}{
		{"nothing", " \n", "$: the input is empty", input},
		{"no JSON", `{"operation":`, "$: the input is no JSON", input},
		{"a list", `[]`, "$: must be an object", input},
		{"no operation", `{}`, "$.operation: is missing", input},
		{"a number for a text", `{"operation":1}`, "$.operation: must be a string", input},
		{"a text for a number", `{"operation":"read","attempt":"1"}`, "$.attempt: must be a whole number", input},
		{"a fraction", `{"operation":"read","attempt":1.5}`, "$.attempt: must be a whole number", input},
		{"deep", `{"operation":"read","User":{"IsActive":"yes"}}`, "$.User.IsActive: must be true or false", input},
		{"in a list", `{"operation":"update","changedAttributes":["a",2]}`, "$.changedAttributes[1]: must be a string", input},
		{"in a map", `{"operation":"create","secrets":{"password":1}}`, "$.secrets.password: must be a string", input},
		{"a mode", `{"operation":"reconcile","mode":"some"}`, `$.mode: is "some"`, input},
		{"an account without id", `{"accounts":[{"ExternalUserId":"1"},{}]}`, "$.accounts[1].ExternalUserId: is missing", output},
		{"a wrong account", `{"accounts":[{"ExternalUserId":7}]}`, "$.accounts[0].ExternalUserId: must be a string", output},
		{"an unknown change", `{"accounts":[{"ExternalUserId":"1","change":"gone"}]}`, "$.accounts[0].change", output},
		{"accounts as an object", `{"accounts":{}}`, "$.accounts: must be a list", output},
		{"an estimate as text", `{"totalEstimate":"10"}`, "$.totalEstimate: must be a whole number", output},
		{"pending without token", `{"pending":{}}`, "$.pending.token: is missing", output},
		{"a description without name", `{}`, "$.name: is missing", description},
		{"… version", `{"name":"a"}`, "$.version: is missing", description},
		{"… contract version", `{"name":"a","version":"1.0.0"}`, "$.contractVersion: is missing", description},
		{"… operations", `{"name":"a","version":"1.0.0","contractVersion":1}`, "$.operations: is missing", description},
		{"a rate as text", `{"rateHints":{"requestsPerSecond":"1"}}`, "$.rateHints.requestsPerSecond: must be a number", description},
		{"a class without name", `{"objectClasses":[{}]}`, "$.objectClasses[0].name: is missing", discovery},
		{"an attribute without name", `{"objectClasses":[{"name":"a","attributes":[{}]}]}`, "$.objectClasses[0].attributes[0].name: is missing", discovery},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.decode([]byte(c.doc))
			require.Error(t, err)
			assert.Equal(t, InvalidInput, TypeOf(err))
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func TestDecodeIgnoresWhatItDoesNotKnow(t *testing.T) {
	in, err := DecodeInput([]byte(`{"operation":"read","later":{"x":1},"User":{"Id":"1","Later":2}}`))
	require.NoError(t, err)
	assert.Equal(t, "1", in.User.Id)
	_, err = DecodeOutput([]byte(`{"ExternalUserId":"1","accounts":null,"pending":null,"later":[]}`))
	assert.NoError(t, err)
}

func TestDecodeError(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		want      Error
	}{
		{"a document", `{"type":"Conflict","message":"m","httpStatus":412,"later":1}`, Error{Type: Conflict, Message: "m", HTTPStatus: 412}},
		{"a later type", `{"type":"Later","message":"m"}`, Error{Type: Internal, Message: "Later: m"}},
		{"a text", "it broke", Error{Type: Internal, Message: "it broke"}},
		{"an exception", "Error: {\"type\":\"NotFound\",\"message\":\"m\"}\n    at create (plugin.js)", Error{Type: NotFound, Message: "m"}},
		{"another object in a text", `oops {"type":"div"}`, Error{Type: Internal, Message: `oops {"type":"div"}`}},
		{"nothing", "", Error{Type: Internal, Message: "it failed and said nothing of why"}},
		{"a negative wait", `{"type":"RateLimited","retryAfterSeconds":-1}`, Error{Type: RateLimited}},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, *DecodeError([]byte(c.doc)))
		})
	}
}

func FuzzDecodeOutput(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"accounts":[{"ExternalUserId":"1","change":"deleted"}],"reconState":"complete:t"}`, `{"pending":{"token":"t"}}`,
		`{"totalEstimate":1e3}`, `{"attributes":{"a":[{"b":null}]}}`, `[`, `{"accounts":{}}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := DecodeOutput(b)
		if err != nil {
			if TypeOf(err) != InvalidInput {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		again, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeOutput(again); err != nil {
			t.Fatalf("%q becomes %q, which is refused: %v", b, again, err)
		}
	})
}
