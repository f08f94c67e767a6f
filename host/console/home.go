package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// home is what needs a person now, and how everything is.
type home struct {
	Stopped []stopped
	Needs   []need
	// More counts approvals beyond those that are shown; those are the fewest where
	// not all were counted.
	More api.Count
	Apps []appRow
	Day  day
	// AnyPeople: somebody is here. It is asked where there is no app yet.
	AnyPeople bool
}

// stopped is a batch of changes that passed a threshold: a plan, or a run.
type stopped struct {
	Name, Title, Text string
	// Path is what its decision is posted below; See where it is to be seen.
	Path, See string
	// N is how many changes it has, Digest which.
	N         int64
	Digest    string
	MayDecide bool
}

// need is something that a person must do.
type need struct {
	Tone, Kind, Text, Sub string
	Since                 time.Time
	// Do is where it is seen to, with the label of the button.
	Do, Label string
	// Approval is set where it is a request that can be decided here.
	Approval *api.Request
}

// mostApprovals are shown on the home page.
const mostApprovals = 4

func (c *console) home(w http.ResponseWriter, r *http.Request) error {
	h, err := c.homeOf(r.Context())
	if err != nil {
		return err
	}
	title := homeTitle(h)
	return c.show(w, r, Page{Title: title, Sub: Text(homeSub(h)), Current: "home"}, homePage(h))
}

func (c *console) homeOf(ctx context.Context) (h home, err error) {
	if may(ctx, access.ApproveRequests) {
		if h.Needs, h.More, err = c.approvalNeeds(ctx); err != nil {
			return h, err
		}
	}
	if !may(ctx, access.ViewSetup) {
		return h, nil
	}
	waits, err := c.Service.Waits(ctx)
	if err != nil {
		return h, err
	}
	if h.Apps, err = c.appRows(ctx, waits); err != nil {
		return h, err
	}
	if len(h.Apps) == 0 {
		someone, err := c.Service.Users(ctx, api.UserFilter{Paging: api.Paging{Limit: 1}})
		if err != nil {
			return h, err
		}
		h.AnyPeople = len(someone.Rows) > 0
	}
	notices, err := c.Service.Notices(ctx, time.Time{})
	if err != nil {
		return h, err
	}
	h.add(notices)
	if err := errors.Join(c.addPlans(ctx, &h), c.addRuns(ctx, &h)); err != nil {
		return h, err
	}
	now := c.Now()
	list, err := c.Service.Activity(ctx, now.Add(-hoursOfDay*time.Hour))
	h.Day = dayOf(now, list)
	return h, err
}

// approvalNeeds are the first requests that wait for who looks, and how many
// more there are.
func (c *console) approvalNeeds(ctx context.Context) (needs []need, more api.Count, err error) {
	in, err := c.inbox(ctx, api.Paging{Limit: mostApprovals})
	if err != nil {
		return nil, more, err
	}
	apps, err := c.labels(ctx)
	if err != nil {
		return nil, more, err
	}
	for _, r := range in.Requests {
		needs = append(needs, need{Tone: "warn", Kind: "Approval", Text: whatIsAsked(r, apps.of(r.AppName)), Sub: r.Reason, Since: r.CreatedDate,
			Do: requestPath(r), Label: "Look", Approval: r})
	}
	more = in.Waiting
	more.N -= int64(len(needs))
	return needs, more, nil
}

// add tells of what has no rows of its own.
func (h *home) add(notices []api.Notice) {
	for _, n := range notices {
		if n.Resolved != nil || n.Kind == host.NoticeApproval || n.Kind == host.NoticeReview || n.Kind == host.NoticeThreshold {
			continue
		}
		one := need{Tone: toneOfNotice(n.Kind), Kind: capital(string(n.Kind)), Text: capital(withoutCommand(n.Text)), Since: n.Since}
		if n.Waiting > 0 {
			one.Sub = count(n.Waiting, "request waits", "requests wait")
		}
		one.Do, one.Label = whereTo(n)
		h.Needs = append(h.Needs, one)
	}
}

// mostStopped are told of.
const mostStopped = 5

// addPlans tells of the plans that passed a threshold.
func (c *console) addPlans(ctx context.Context, h *home) error {
	plans, err := c.Service.Plans(ctx, "", []host.PlanState{host.PlanQuarantined}, mostStopped)
	for _, p := range plans {
		title := "Changes of the organisation's people were stopped before the first."
		if p.AppName != "" {
			title = "Changes in " + h.label(p.AppName) + " were stopped before the first."
		}
		one := stopped{Name: p.Name(), Title: title, Text: sentence(p.Reason), Path: Path + "/plans/" + p.Name(), See: Path + "/plans/" + p.Name(),
			Digest: p.Digest, MayDecide: mayAt(ctx, p.AppName, access.ViewSetup, access.ManageUsers)}
		for _, n := range p.Counts {
			one.N += n
		}
		h.Stopped = append(h.Stopped, one)
	}
	return err
}

// addRuns tells of the runs that wait for a review, or passed a threshold.
func (c *console) addRuns(ctx context.Context, h *home) error {
	runs, err := c.Service.Requests(ctx, api.RequestFilter{Operation: host.Reconcile, State: []host.RequestState{host.StateAnalyzed}, Paging: api.Paging{Sort: "-number", Limit: mostStopped}})
	for _, r := range runs.Rows {
		path := Path + "/runs/" + r.Name()
		if r.Quarantine != "" && !r.QuarantineAllowed {
			h.Needs = append(h.Needs, need{Tone: "warn", Kind: "Threshold", Text: "A run of " + h.label(r.AppName) + " was stopped: " + readable(r.Quarantine), Since: r.CreatedDate, Do: path, Label: "Review"})
		} else if !r.CommitWhenAnalyzed {
			h.Needs = append(h.Needs, need{Tone: "info", Kind: "Review", Text: "What a run found in " + h.label(r.AppName) + " is stored after a review", Since: r.CreatedDate, Do: path, Label: "Review"})
		}
	}
	return err
}

// label is what an app is called.
func (h *home) label(app string) string {
	for _, a := range h.Apps {
		if a.Name == app {
			return a.Label
		}
	}
	return app
}

func (h *home) count() int { return len(h.Stopped) + len(h.Needs) + int(h.More.N) }

// moreApprovals counts those that are not shown.
func moreApprovals(n api.Count) string {
	if n.More {
		return "More than " + count(n.N, "more approval", "")
	}
	return count(n.N, "more approval", "")
}

// peopleFirst is the way to the people, for one who has no app yet.
func peopleFirst(h home) string {
	if h.AnyPeople {
		return "See them"
	}
	return "Import people"
}

func homeTitle(h home) string {
	switch n := h.count(); {
	case h.More.More:
		return "More than " + number(n) + " things need a person"
	case n == 0:
		if len(h.Apps) == 0 && h.Day.none() {
			return "Welcome"
		}
		return "Nothing needs a person"
	case n == 1:
		return "One thing needs a person"
	default:
		return inWords(n) + " things need a person"
	}
}

func homeSub(h home) string {
	ill := 0
	for _, a := range h.Apps {
		if a.Tone == "bad" {
			ill++
		}
	}
	switch {
	case len(h.Apps) == 0:
		return ""
	case ill > 0:
		return count(ill, "app does", "apps do") + " not work as they should."
	case h.count() == 0:
		return "Everything is running."
	default:
		return "Everything else is running."
	}
}

// whereTo is the page on which a notice is seen to.
func whereTo(n api.Notice) (href, label string) {
	subject := url.PathEscape(n.Subject)
	switch n.Kind {
	case host.NoticeConnector:
		return Path + "/connectors/" + subject, "See why"
	case host.NoticeCredential:
		name, _, _ := strings.Cut(n.Subject, "/")
		return Path + "/credentials/" + url.PathEscape(name), "Authorize"
	case host.NoticeTarget:
		return Path + "/system", "See why"
	case host.NoticeConfiguration, host.NoticeSetting:
		return Path + "/system", "See why"
	default:
		return Path + "/requests", "Look"
	}
}

// appRow is an app in a table: how it is at a glance.
type appRow struct {
	api.App
	// Connector is its name and version, with Next where a build takes over.
	Connector, Next string
	Total           int64
	// Waits is what its oldest request waits for, since when.
	Waits string
	Since time.Time
	// Review: what a run of it found waits for a person.
	Review     bool
	Tone, Word string
}

// appRows are all apps as a table shows them.
func (c *console) appRows(ctx context.Context, waits []api.Wait) ([]appRow, error) {
	apps, err := c.Service.Apps(ctx)
	if err != nil {
		return nil, err
	}
	plugins, err := c.Service.Plugins(ctx)
	if err != nil {
		return nil, err
	}
	credentials, err := c.Service.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := c.Service.Targets(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]appRow, len(apps))
	for i, a := range apps {
		row := appRow{App: a, Connector: a.Config.Connector, Tone: "good", Word: "Healthy"}
		for _, n := range a.Accounts {
			row.Total += n
		}
		for _, w := range waits { // the oldest first
			if w.App == a.Name && w.For != "later" && w.For != "nothing" {
				row.Waits, row.Since = w.For, w.Since
				break
			}
		}
		row.Review = slices.ContainsFunc(waits, func(w api.Wait) bool { return w.App == a.Name && w.For == "review" })
		judge(&row, plugins, credentials, targets, c.Now())
		rows[i] = row
	}
	return rows, nil
}

// judge says in a word how an app is: the worst that is so.
func judge(row *appRow, plugins []api.Plugin, credentials []api.Credential, targets []api.Target, now time.Time) {
	say := func(tone, word string) { row.Tone, row.Word = tone, word }
	if row.Config.Mode == host.Preview {
		say("info", "Preview")
	}
	for _, p := range plugins {
		if p.Name != row.Config.Connector {
			continue
		}
		row.Connector = p.Name + " " + p.Version
		if p.Next != nil {
			row.Next = p.Next.Version + " at " + percent(p.Next.Share)
			say("info", "New version")
		}
	}
	if row.Review {
		say("warn", "Waits for review")
	}
	if row.Quarantined > 0 {
		say("warn", "Stopped")
	}
	for _, p := range plugins {
		if p.Name == row.Config.Connector && p.State != "serving" {
			say("bad", "Connector "+p.State)
		}
	}
	for _, t := range targets {
		if slices.Contains(t.Apps, row.Name) && t.Breaker(now) != host.BreakerClosed {
			say("bad", "Does not answer")
		}
	}
	for _, k := range credentials {
		if slices.Contains(k.Apps, row.Name) && k.Wants != "" {
			say("bad", "Sign-in needed")
		}
	}
	if !row.Config.Enabled {
		say("plain", "Off")
	}
}

// parts of the accounts of an app, for a bar.
func accountParts(accounts map[host.LinkState]int64) []Part {
	return []Part{{"good", accounts[host.Linked], "linked"}, {"warn", accounts[host.Duplicate], "duplicate"},
		{"plain", accounts[host.Orphaned], "orphaned"}, {"info", accounts[host.Ignored], "ignored"}}
}
