// Command tiny is a small connector for the tests of the commands.
package main

import "github.com/provosthq/provost/pdk"

func main() {}

func init() {
	pdk.Register(tiny{}, pdk.Description{
		Name: "tiny", Version: "0.1.0", Vendor: "Example Ltd", Summary: "People of a small target.",
		Attributes:          []pdk.Attribute{{Name: "login", Required: true, Unique: true}, {Name: "email"}},
		Inputs:              []pdk.Parameter{{Name: "costCenter", Type: "text", Required: true}},
		CredentialProtocols: []string{"bearer", "oauth2_client_credentials"},
		SettingsSchema: map[string]any{
			"type": "object", "additionalProperties": false,
			"properties": map[string]any{"region": map[string]any{"type": "string"}},
		},
		DefaultMapping: []string{"login = user.Username"},
	})
}

type tiny struct{}

func (tiny) Create(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	ctx.Log().Info("making an account", "region", in.Settings["region"])
	var got struct{ ID, Login string }
	if err := ctx.Post("/v1/users", in.Attributes).JSON(&got); err != nil {
		return pdk.Account{}, err
	}
	return pdk.Account{ExternalUserId: got.ID, ExternalUsername: got.Login}, nil
}

func (tiny) Reconcile(ctx *pdk.Context, in pdk.Input) (pdk.Page, error) {
	var got struct {
		Users []struct{ ID, Login, Email string }
		Next  string
	}
	if err := ctx.Get("/v1/users", "after", in.ReconOffset, "filter", in.ReconFilter).JSON(&got); err != nil {
		return pdk.Page{}, err
	}
	page := pdk.Page{Next: got.Next}
	for _, u := range got.Users {
		page.Add(pdk.Account{ExternalUserId: u.ID, ExternalUsername: u.Login, ExternalEmail: u.Email})
	}
	return page, nil
}
