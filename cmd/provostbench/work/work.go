// Package work is what provostbench measures, for WebAssembly and natively: a
// connector that reads a request of some 1 KB, makes one callout that answers
// 1 KB, reads that, and writes an answer of 0.5 KB.
package work

import (
	"encoding/json"
	"strings"

	"github.com/provosthq/provost/pdk"
)

// Connector is the connector.
type Connector struct{}

// Description is the connector's.
var Description = pdk.Description{Name: "bench", Version: "1.0.0"}

// Create is a connector's create at its shortest.
func (Connector) Create(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	var got map[string]any
	if err := ctx.Post("/Users", in.Attributes).JSON(&got); err != nil {
		return pdk.Account{}, err
	}
	id, _ := got["id"].(string)
	name, _ := got["userName"].(string)
	return pdk.Account{ExternalUserId: id, ExternalUsername: name, Attributes: map[string]any{"displayName": got["displayName"]}}, nil
}

// Plain is the same without the contract: a document in, an answer of the
// host, a document out.
func Plain(in, answer []byte) ([]byte, error) {
	var request, got map[string]any
	if err := pdk.Unmarshal(in, &request); err != nil {
		return nil, err
	}
	if err := pdk.Unmarshal(answer, &got); err != nil {
		return nil, err
	}
	return pdk.Marshal(map[string]any{"ExternalUserId": got["id"], "attributes": map[string]any{"displayName": got["displayName"]}, "operation": request["operation"]})
}

// PlainJSON is Plain with encoding/json.
func PlainJSON(in, answer []byte) ([]byte, error) {
	var request, got map[string]any
	if err := json.Unmarshal(in, &request); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"ExternalUserId": got["id"], "attributes": map[string]any{"displayName": got["displayName"]}, "operation": request["operation"]})
}

// Spin does n steps of arithmetic.
func Spin(n uint64) uint64 {
	x := n | 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// Input is the request.
func Input() []byte {
	b, err := json.Marshal(pdk.Input{Operation: pdk.OpCreate, NamedCredDevName: "X", UserProvisioningRequestId: "01a20a80-9a03-7a90-b663-70f0dd466848",
		User: &pdk.User{Id: "01a20a80-803e-769a-a13b-47f48eff31c3", Username: "ada@example.com", FirstName: "Ada", LastName: "Lovelace", Email: "ada@example.com", IsActive: true},
		Attributes: map[string]any{"userName": "ada@example.com", "displayName": strings.Repeat("y", 400), "active": true,
			"name": map[string]any{"givenName": "Ada", "familyName": "Lovelace"}, "emails": []any{map[string]any{"value": "ada@example.com", "type": "work", "primary": true}}}})
	if err != nil { // it is made of text
		panic(err)
	}
	return b
}

// Answer is what the callout answers.
var Answer = []byte(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"scim-000001","userName":"ada@example.com","active":true,"displayName":"` +
	strings.Repeat("x", 400) + `","title":"` + strings.Repeat("t", 400) + `","meta":{"resourceType":"User","version":"W/\"1\""}}`)
