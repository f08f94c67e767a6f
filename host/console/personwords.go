package console

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// foundText is what a screen reader is told of a search.
func foundText(p people) string {
	if p.Next != "" {
		return "The first " + number(len(p.Rows)) + " people of more"
	}
	return count(len(p.Rows), "person", "people") + " found"
}

// joined are the words that are there.
func joined(sep string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), sep)
}

func accountName(a *host.UserProvAccount) string {
	return cmp.Or(a.ExternalUsername, a.ExternalEmail, a.ExternalUserId)
}

// becauseOf says what gives a person an app.
func becauseOf(by []string) string {
	if len(by) == 0 {
		return "nothing now"
	}
	return listed(by)
}

func mayAssign(ctx context.Context, app string) bool {
	return mayAt(ctx, app, access.ViewSetup, access.ManageUsers)
}

func lower(s string) string { return strings.ToLower(s) }
