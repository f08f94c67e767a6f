package console

import (
	"context"
	"net/http"

	"github.com/provosthq/provost/host/access"
)

// What pages and actions ask for, as the routes of the API do.
var (
	// view is to see how things are.
	view = access.All(access.ViewSetup)
	// seeRequests is for those, too, who are to decide about some.
	seeRequests = view.Or(access.ApproveRequests)
)

// Rules says of each page and action who may have it. One without a rule is not
// served.
var Rules = access.Rules{
	{Route: "GET /console", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/map", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/assets/{digest}/{name}", Need: access.Public},
}

// pages are all pages and actions, by their route.
func (c *console) pages() map[string]handler {
	return map[string]handler{
		"GET /console":                        c.home,
		"GET /console/map":                    c.mapPart,
		"GET /console/assets/{digest}/{name}": func(w http.ResponseWriter, r *http.Request) error { c.assets.ServeHTTP(w, r); return nil },
	}
}

// may tells whether who looks has all of some permissions, be it for a single
// app: what they may not do is not shown. That they can't is up to [Rules].
func may(ctx context.Context, list ...access.Permission) bool {
	s := access.SubjectOf(ctx)
	for _, p := range list {
		if !s.May(p) {
			return false
		}
	}
	return true
}

// mayAt is may for an app; "" is the whole host.
func mayAt(ctx context.Context, app string, list ...access.Permission) bool {
	s := access.SubjectOf(ctx)
	for _, p := range list {
		if !s.MayAt(p, app) {
			return false
		}
	}
	return true
}
