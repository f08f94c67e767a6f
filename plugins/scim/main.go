// Command scim is a connector for SCIM 2.0 (RFC 7643 and 7644), for real
// servers with the ways they have.
package main

import (
	"net/url"
	"strings"

	"github.com/provosthq/provost/pdk"
)

func main() {}

func init() { pdk.Register(scim{}, description) }

const (
	coreSchema       = "urn:ietf:params:scim:schemas:core:2.0:User"
	enterpriseSchema = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	patchSchema      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
)

var description = pdk.Description{
	Name: "scim", Version: "0.1.0", Vendor: "Provost", Summary: "Accounts in any app that speaks SCIM 2.0.",
	SettingsVersion: 1,
	SettingsSchema: map[string]any{
		"type": "object", "additionalProperties": false,
		"properties": map[string]any{
			"preset":      map[string]any{"enum": []any{"aws-identity-center", "slack"}, "description": "Sets what a known server needs; the other settings override it."},
			"update":      map[string]any{"enum": []any{"auto", "patch", "put"}, "description": "How accounts are changed; auto asks the server's ServiceProviderConfig."},
			"pageSize":    map[string]any{"type": "integer", "minimum": 1, "maximum": 1000, "description": "Accounts on a page; 100 unless said otherwise."},
			"paging":      map[string]any{"enum": []any{"index", "cursor"}, "description": "startIndex (RFC 7644) or cursor (RFC 9865); without it, what the server announces."},
			"oneChange":   map[string]any{"type": "boolean", "description": "One change per PATCH request."},
			"usersPath":   map[string]any{"type": "string", "pattern": "^/", "description": "Where accounts are; /Users unless said otherwise."},
			"contentType": map[string]any{"type": "string", "description": "application/scim+json unless said otherwise."},
		},
	},
	CredentialProtocols: []string{"bearer", "basic", "api_key", "oauth2_client_credentials"},
	Attributes: []pdk.Attribute{
		{Name: "userName", Required: true, Unique: true},
		{Name: "externalId", CaseExact: true},
		{Name: "name", Type: "complex", SubAttributes: []pdk.Attribute{{Name: "formatted"}, {Name: "givenName"}, {Name: "familyName"}, {Name: "middleName"}}},
		{Name: "displayName"}, {Name: "nickName"}, {Name: "title"}, {Name: "userType"}, {Name: "preferredLanguage"}, {Name: "locale"}, {Name: "timezone"},
		{Name: "active", Type: "boolean"},
		multi("emails"), multi("phoneNumbers"), multi("ims"), multi("photos"), multi("entitlements"), multi("roles"),
		{Name: "addresses", Type: "complex", MultiValued: true, SubAttributes: []pdk.Attribute{{Name: "type"}, {Name: "streetAddress"}, {Name: "locality"}, {Name: "region"}, {Name: "postalCode"}, {Name: "country"}}},
	},
	DefaultMapping: []string{
		"userName = user.Username",
		"name.givenName = user.FirstName",
		"name.familyName = user.LastName",
		`displayName = trim(user.FirstName + " " + user.LastName)`,
		"emails[work].value = lower(user.Email)",
		"active = user.IsActive",
		"externalId = user.Id",
		"title = user.Title",
		enterpriseSchema + ":employeeNumber = user.EmployeeNumber",
		enterpriseSchema + ":department = user.Department",
	},
	DefaultLink: []string{
		"lower(account.ExternalUsername) = lower(user.Username)",
		"lower(account.ExternalEmail) = lower(user.Email)",
	},
}

func multi(name string) pdk.Attribute {
	return pdk.Attribute{Name: name, Type: "complex", MultiValued: true,
		SubAttributes: []pdk.Attribute{{Name: "value"}, {Name: "type"}, {Name: "primary", Type: "boolean"}}}
}

// scim has no state: every call begins anew.
type scim struct{}

// settings are the operator's, over a preset's.
type settings struct {
	update      string
	pageSize    int
	cursor      bool // paging, as set
	index       bool
	oneChange   bool
	usersPath   string
	contentType string
}

func settingsOf(in pdk.Input) settings {
	s := settings{update: "auto", pageSize: 100, usersPath: "/Users", contentType: "application/scim+json"}
	switch text(in.Settings["preset"]) {
	case "aws-identity-center":
		s.update, s.oneChange, s.pageSize = "patch", true, 50
	case "slack":
		s.update, s.pageSize = "patch", 200
	}
	if v := text(in.Settings["update"]); v != "" {
		s.update = v
	}
	if v, ok := in.Settings["pageSize"].(float64); ok {
		s.pageSize = int(v)
	}
	s.cursor, s.index = text(in.Settings["paging"]) == "cursor", text(in.Settings["paging"]) == "index"
	if v, ok := in.Settings["oneChange"].(bool); ok {
		s.oneChange = v
	}
	if v := text(in.Settings["usersPath"]); v != "" {
		s.usersPath = strings.TrimSuffix(v, "/")
	}
	if v := text(in.Settings["contentType"]); v != "" {
		s.contentType = v
	}
	return s
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// user is the path of one account.
func (s settings) user(id string) string { return s.usersPath + "/" + url.PathEscape(id) }
