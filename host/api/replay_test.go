package api

import (
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func TestARequestIsATestForTheAuthorOfItsConnector(t *testing.T) {
	r := &host.UserProvisioningRequest{Number: 42, Operation: host.Update, State: host.StateFailed, ErrorCode: host.InvalidInput, ErrorMessage: "no `name`\nat all",
		ExternalUserId: "7", ChangedAttributes: []string{"name.givenName"},
		Attributes: map[string]any{"name": map[string]any{"givenName": "Ada \"`*/"}, "emails": []any{map[string]any{"value": "a@b", "primary": true}}, "n": 1.5, "none": nil}}
	call := host.Callout{Method: "PATCH", URL: "callout:Acme_SCIM/Users/7?a=1&b=%22", Status: 400, RequestBytes: 9, RequestBody: "{\"a\": `x`}\r\n", ResponseBytes: 4,
		ResponseBody: "no \"\nmore", ResponseHeader: map[string]string{"content-type": "application/json", "date": "now"}}
	logs := []*host.UserProvisioningLog{{Attempt: 1, Trace: &host.CallTrace{Operation: "update", Callouts: []host.Callout{call}}}, {Attempt: 2, Trace: &host.CallTrace{
		Operation: "update", Connector: "scim 1.0.0", Callouts: []host.Callout{call, {Method: "GET", URL: "callout:Acme_SCIM/Users", Error: "cut\noff"}}}}, {Status: "failed"}}
	got := ReplayOf(r, logs)
	require.Equal(t, 2, got.Attempt)
	_, err := parser.ParseFile(token.NewFileSet(), "a_test.go", got.Source, parser.AllErrors)
	require.NoError(t, err, got.Source)
	for _, part := range []string{"func TestUPR000042(", `"/Users/7?a=1&b=%22"`, `pdktest.NamedCredential("Acme_SCIM")`, `h.Call("update"`, `ExternalUserId: "7"`, "float64(1.5)", "did not fail"} {
		require.Contains(t, got.Source, part)
	}
	require.NotContains(t, got.Source, `"date"`, "what the host makes itself is not answered")

	// Without what was sent and answered there is no test, and it is said what there is.
	logs[1].Trace.Callouts[0].ResponseBody = ""
	got = ReplayOf(r, logs)
	require.Empty(t, got.Source)
	require.Contains(t, got.Holds, "attempt 2 has 2 calls with method, address and status; of 1 of them")
	require.Contains(t, ReplayOf(r, logs[2:]).Holds, "no attempt was recorded")
	require.NotEmpty(t, ReplayOf(r, []*host.UserProvisioningLog{{Attempt: 3, Trace: &host.CallTrace{Operation: "read"}}}).Source, "a connector that asks nothing is a test, too")
}
