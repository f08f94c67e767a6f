package console

import (
	"cmp"
	"context"
	"slices"

	"github.com/provosthq/provost/host/api"
)

// mostOffered bounds the profiles, and the permission sets, that are offered.
const mostOffered = 24

// offeredOf are the holdings to offer, those that most people have, how many more
// somebody has, and what of chosen is not among those offered.
func offeredOf(list []api.Holding, chosen []string) (offered []api.Holding, more int, others []string) {
	for _, h := range list {
		if h.Users > 0 {
			offered = append(offered, h)
		}
	}
	slices.SortStableFunc(offered, func(a, b api.Holding) int { return cmp.Compare(b.Users, a.Users) })
	more = max(0, len(offered)-mostOffered)
	offered = offered[:len(offered)-more]
	slices.SortFunc(offered, func(a, b api.Holding) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range chosen {
		if !slices.ContainsFunc(offered, func(h api.Holding) bool { return h.Name == name }) {
			others = append(others, name)
		}
	}
	return offered, more, others
}

// nobodyHas says of which of some names nobody is, for who mistyped one.
func nobodyHas(list []api.Holding, names []string) string {
	var nobody []string
	for _, name := range names {
		if !slices.ContainsFunc(list, func(h api.Holding) bool { return h.Name == name && h.Users > 0 }) {
			nobody = append(nobody, "“"+name+"”")
		}
	}
	if len(nobody) == 0 {
		return "A name that nobody has yet is kept, and counts once somebody has it."
	}
	return "Nobody has " + listed(nobody) + " yet. It counts once somebody has."
}

// withHoldings adds what people have, for the step that says who gets an account.
func (c *console) withHoldings(ctx context.Context, v *wizardView) (err error) {
	if v.Profiles, err = c.Service.Profiles(ctx); err == nil {
		v.PermissionSets, err = c.Service.PermissionSets(ctx)
	}
	return err
}
