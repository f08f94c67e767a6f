package console

import (
	"context"
	"net/http"
	"slices"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// Page is what the frame shows around the content of a page.
type Page struct {
	// Title says what the subject is; Sub, in one line, how it is.
	Title string
	Sub   templ.Component
	// Crumbs lead back to where one came from; the last one, without an Href, is
	// the page itself and may be left out.
	Crumbs []Crumb
	// Current is the [place] of the map that the page belongs to.
	Current string
	// Actions are the buttons at the head of the page, the one thing to do next
	// last.
	Actions templ.Component
}

// Crumb is a step on the way to a page.
type Crumb struct{ Label, Href string }

// place is an entry of the map.
type place struct {
	Key, Label, Href string
	// Gap: there is a space before it.
	Gap bool
}

// places are the map, in its order.
var places = []place{
	{Key: "home", Label: "Home", Href: Path},
	{Key: "apps", Label: "Apps", Href: Path + "/apps"},
	{Key: "people", Label: "People", Href: Path + "/people"},
	{Key: "requests", Label: "Requests", Href: Path + "/requests"},
	{Key: "approvals", Label: "Approvals", Href: Path + "/approvals"},
	{Key: "connectors", Label: "Connectors", Href: Path + "/connectors", Gap: true},
	{Key: "credentials", Label: "Credentials", Href: Path + "/credentials"},
	{Key: "runs", Label: "Runs", Href: Path + "/runs"},
	{Key: "audit", Label: "Audit", Href: Path + "/audit", Gap: true},
	{Key: "system", Label: "System", Href: Path + "/system"},
}

// frame is what every page has around it.
type frame struct {
	Places []place
	// Counts say how much waits for a person, by the key of the place.
	Counts map[string]waiting
	Flash  *Flash
	// Who is looking, and what that is in the logs.
	Who     *access.Subject
	Actor   string
	Version string
	assets  *assets
}

// waiting is how much waits for a person, and for what.
type waiting struct {
	N    int64
	What string
}

func (c *console) frame(w http.ResponseWriter, r *http.Request) (frame, error) {
	f := frame{Places: placesFor(r.Context()), Who: access.SubjectOf(r.Context()), Actor: host.ActorOf(r.Context()), Version: c.Version, assets: c.assets, Flash: takeFlash(w, r)}
	var err error
	f.Counts, err = c.counts(r.Context())
	return f, err
}

// counts are what waits for a person.
func (c *console) counts(ctx context.Context) (map[string]waiting, error) {
	waits, err := c.Service.Waits(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]waiting{}
	for _, one := range waits {
		switch one.For {
		case "approval":
			counts["approvals"] = waiting{counts["approvals"].N + one.Requests, "wait for approval"}
		case "review":
			counts["runs"] = waiting{counts["runs"].N + one.Requests, "wait for a review"}
		}
	}
	return counts, nil
}

// mapPart is the map alone, for pages that stay open.
func (c *console) mapPart(w http.ResponseWriter, r *http.Request) error {
	counts, err := c.counts(r.Context())
	if err != nil {
		return err
	}
	return c.live(w, r, seen(counts), livePlaces(frame{Places: placesFor(r.Context()), Counts: counts}, r.URL.Query().Get("current")))
}

// mapEvery is how often the map asks what waits.
const mapEvery = "every 20s"

// placesFor are those that who looks may go to.
func placesFor(ctx context.Context) []place {
	return slices.DeleteFunc(slices.Clone(places), func(p place) bool { return !mayOpen(ctx, "GET "+p.Href) })
}

// isBack tells whether a crumb is the last that leads somewhere: esc goes there.
func isBack(list []Crumb, i int) bool {
	for _, later := range list[i+1:] {
		if later.Href != "" {
			return false
		}
	}
	return true
}

func flashRole(f *Flash) string {
	if f.Tone == "bad" {
		return "alert"
	}
	return "status"
}
