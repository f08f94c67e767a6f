// Command turncoat is a connector for tests whose builds differ by a word in
// the module: what it does, and what it says of itself.
package main

import "github.com/provosthq/provost/pdk"

func main() {}

// Tests write other words of the same length over these.
var (
	mood    = "mood=good"
	version = "71.0.0"
	spun    int
)

func init() {
	d := pdk.Description{Name: "turncoat", Version: version, Vendor: "Example Ltd",
		DefaultMapping: []string{"username = user.Username"},
		DefaultLink:    []string{"account.ExternalUsername = user.Username"},
		Attributes:     []pdk.Attribute{{Name: "username", Required: true, Unique: true}}}
	switch mood {
	case "mood=less":
		pdk.Register(less{}, d)
	case "mood=more":
		d.Hosts = []string{"files.example.com"}
		pdk.Register(more{}, d)
	case "mood=need":
		d.Attributes = append(d.Attributes, pdk.Attribute{Name: "shoeSize", Required: true})
		pdk.Register(turncoat{}, d)
	default:
		pdk.Register(turncoat{}, d)
	}
}

type account struct{ ID, Username string }

func (a account) found() pdk.Account {
	return pdk.Account{ExternalUserId: a.ID, ExternalUsername: a.Username}
}

// less can only make accounts.
type less struct{}

func (less) Create(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	var got account
	switch mood {
	case "mood=trap":
		panic("it does not feel like it")
	case "mood=fail":
		return pdk.Account{}, pdk.Errorf(pdk.InvalidInput, "it does not feel like it")
	case "mood=chat":
		for range 200 {
			ctx.Log().Info("it has much to say")
		}
	case "mood=spin":
		for i := 0; ; i++ {
			spun += i
		}
	}
	err := ctx.Post("/accounts", in.Attributes).JSON(&got)
	return got.found(), err
}

func (less) TestConnection(ctx *pdk.Context, in pdk.Input) error {
	if mood == "mood=sick" {
		return pdk.Errorf(pdk.Unauthorized, "it can't sign in")
	}
	return ctx.Get("/accounts").Err()
}

type turncoat struct{ less }

func (turncoat) Reconcile(ctx *pdk.Context, in pdk.Input) (pdk.Page, error) {
	var got struct {
		Accounts []account
		Next     string
	}
	if err := ctx.Get("/accounts", "after", in.ReconOffset).JSON(&got); err != nil {
		return pdk.Page{}, err
	}
	page := pdk.Page{Next: got.Next}
	for _, a := range got.Accounts {
		page.Add(a.found())
	}
	return page, nil
}

// more can delete, too.
type more struct{ turncoat }

func (more) Delete(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return pdk.Account{}, ctx.Delete("/accounts/" + in.UserProvAccount.ExternalUserId).Err()
}
