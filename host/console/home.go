package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// home is what needs a person now, and how everything is.
type home struct {
	Needs []need
	Apps  []appRow
}

// need is something that a person must do.
type need struct {
	Tone, Kind, Text, Sub string
	Since                 time.Time
	// Do is where it is done, with the label of the button.
	Do, Label string
}

// appRow is an app in a table: how it is at a glance.
type appRow struct {
	api.App
	// Connector is its name and version, with Next where a build takes over.
	Connector, Next string
	Total           int64
	// Waits is what its oldest request waits for, since when.
	Waits      string
	Since      time.Time
	Tone, Word string
}

// mostNeeds are shown on the home page.
const mostNeeds = 8

func (c *console) home(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	notices, err := c.Service.Notices(ctx, time.Time{})
	if err != nil {
		return err
	}
	h := home{Needs: needsOf(notices)}
	if h.Apps, err = c.appRows(ctx); err != nil {
		return err
	}
	return c.show(w, r, Page{Title: homeTitle(h), Sub: Text(homeSub(h)), Current: "home"}, homePage(h))
}

func homeTitle(h home) string {
	switch n := len(h.Needs); n {
	case 0:
		return "Nothing needs a person"
	case 1:
		return "One thing needs a person"
	default:
		return inWords(n) + " things need a person"
	}
}

func homeSub(h home) string {
	if len(h.Apps) == 0 {
		return "No app is connected yet."
	}
	ill := 0
	for _, a := range h.Apps {
		if a.Tone == "bad" {
			ill++
		}
	}
	switch {
	case ill > 0:
		return count(ill, "app does", "apps do") + " not work as they should."
	case len(h.Needs) == 0:
		return "Everything is running."
	default:
		return "Everything else is running."
	}
}

// needsOf makes of notices what a person reads, with where to go.
func needsOf(notices []api.Notice) []need {
	list := make([]need, 0, len(notices))
	for _, n := range notices {
		if n.Resolved != nil {
			continue
		}
		one := need{Tone: toneOfNotice(n.Kind), Kind: capital(string(n.Kind)), Text: capital(withoutCommand(n.Text)), Since: n.Since, Label: "Look"}
		if n.Waiting > 0 {
			one.Sub = count(n.Waiting, "waits", "wait")
		}
		one.Do, one.Label = whereTo(n)
		list = append(list, one)
	}
	return list
}

// whereTo is the page on which a notice is seen to.
func whereTo(n api.Notice) (href, label string) {
	subject := url.PathEscape(n.Subject)
	switch n.Kind {
	case host.NoticeConnector:
		return Path + "/connectors/" + subject, "See why"
	case host.NoticeThreshold, host.NoticeReview:
		if strings.HasPrefix(n.Subject, "PLN-") {
			return Path + "/plans/" + subject, "Decide"
		}
		return Path + "/runs/" + subject, "Review"
	case host.NoticeCredential:
		name, _, _ := strings.Cut(n.Subject, "/")
		return Path + "/credentials/" + url.PathEscape(name), "Authorise"
	case host.NoticeTarget:
		return Path + "/system", "See why"
	case host.NoticeApproval:
		return Path + "/approvals", "Decide"
	case host.NoticeConfiguration:
		return Path + "/system", "See why"
	default:
		return Path + "/requests", "Look"
	}
}

// appRows are all apps as a table shows them.
func (c *console) appRows(ctx context.Context) ([]appRow, error) {
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
	waits, err := c.Service.Waits(ctx)
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
		judge(&row, plugins, credentials, targets, nowOf(ctx))
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
		if p.State != "serving" {
			say("bad", "Connector "+p.State)
		}
	}
	if row.Quarantined > 0 {
		say("warn", "Stopped")
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
