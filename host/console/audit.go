package console

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// auditNouns are the choices of what was done something with: the noun before the
// dot of an action.
var auditNouns = []Option{{"", "Everything"}, {"request", "Requests"}, {"reconcile", "Runs"}, {"plan", "Plans"}, {"account", "Accounts"}, {"user", "People"}, {"app", "Apps"},
	{"credential", "Credentials"}, {"plugin", "Connectors"}, {"config", "Configuration"}, {"access", "Access"}, {"daemon", "Daemon"}}

var auditOutcomes = []Option{{"", "Any outcome"}, {"done", "Done"}, {"refused", "Refused"}, {"failed", "Failed"}}

// auditFilter is what the address of the trail says. Who did something may be a
// person, and stands in none.
type auditFilter struct {
	Action, Outcome, Request, Age string
	Before                        int64
	// Actor is looked for by a form.
	Actor string
}

func auditFilterOf(r *http.Request) auditFilter {
	f := auditFilter{Action: r.FormValue("action"), Outcome: r.FormValue("outcome"), Request: r.FormValue("request"), Age: r.FormValue("age"), Actor: strings.TrimSpace(r.PostFormValue("actor"))}
	f.Before, _ = strconv.ParseInt(r.FormValue("before"), 10, 64) // what is no number is the first page
	return f
}

func (f auditFilter) path() string {
	q := url.Values{}
	for name, value := range map[string]string{"action": f.Action, "outcome": f.Outcome, "request": f.Request, "age": f.Age} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Before > 0 {
		q.Set("before", itoa(f.Before))
	}
	return pathWith(Path+"/audit", q)
}

func (f auditFilter) at(before int64) auditFilter { f.Before = before; return f }

// chosen is the filter for the service.
func (f auditFilter) chosen(now time.Time) api.AuditFilter {
	chosen := api.AuditFilter{Actor: f.Actor, Action: f.Action, Outcome: host.AuditOutcome(f.Outcome), Request: f.Request, Before: max(f.Before, 0), Limit: pageRows + 1}
	for _, a := range requestAges {
		if a.Value == f.Age && a.Age > 0 {
			chosen.Since = now.Add(-a.Age)
		}
	}
	return chosen
}

// auditList is a page of the trail.
type auditList struct {
	Filter auditFilter
	Rows   []*api.AuditEntry
	// Next is the number that the page after begins before; 0 for none.
	Next int64
	// Verified is what came of a check; nil where none was made.
	Verified *host.AuditVerification
}

func (c *console) audit(w http.ResponseWriter, r *http.Request) error {
	return c.showAudit(w, r, nil)
}

func (c *console) showAudit(w http.ResponseWriter, r *http.Request, verified *host.AuditVerification) error {
	list := auditList{Filter: auditFilterOf(r), Verified: verified}
	rows, err := c.Service.AuditEntries(r.Context(), list.Filter.chosen(c.Now()))
	if err != nil {
		return err
	}
	if len(rows) > pageRows {
		rows = rows[:pageRows]
		list.Next = rows[pageRows-1].Number
	}
	list.Rows = rows
	if isPart(r) {
		return c.part(w, r, auditTable(list))
	}
	return c.show(w, r, Page{Title: "Audit", Sub: Text("Who changed what, or tried to. Each entry holds the digest of the one before, so that none can be changed or taken out unseen."), Current: "audit",
		Actions: auditActions()}, auditPage(list))
}

// verifyAudit walks the whole trail.
func (c *console) verifyAudit(w http.ResponseWriter, r *http.Request) error {
	v, err := c.Service.VerifyAudit(r.Context(), "")
	if err != nil {
		return err
	}
	return c.showAudit(w, r, &v)
}

// auditActor is who did something, as a person reads it.
func auditActor(e *api.AuditEntry) string {
	if e.Actor == host.Ourselves {
		return "Provost"
	}
	return cmp.Or(e.ActorName, e.Actor)
}

func toneOfOutcome(o host.AuditOutcome) string {
	switch o {
	case host.AuditDone:
		return "good"
	case host.AuditRefused:
		return "warn"
	default:
		return "bad"
	}
}

// auditDetails are the details of an entry, laid out.
func auditDetails(e *api.AuditEntry) string {
	if len(e.Details) == 0 {
		return ""
	}
	var v any
	if json.Unmarshal(e.Details, &v) != nil {
		return string(e.Details)
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // it was read
		return string(e.Details)
	}
	return string(text)
}

// auditObjectPath is the page of what was done something with; "" for none.
func auditObjectPath(o host.AuditObject) string {
	name := url.PathEscape(o.Name)
	switch o.Kind {
	case "app":
		return appPath(o.Name)
	case "plugin", "connector":
		return connectorPath(o.Name)
	case "credential":
		return credentialPath(o.Name)
	case "request":
		return Path + "/requests/" + name
	case "plan":
		return planPath(o.Name)
	case "account":
		return userAccountPath(o.Name)
	default:
		return ""
	}
}

// verifiedText says what came of a check of the trail.
func verifiedText(v host.AuditVerification) (tone, text, more string) {
	if v.Broken != 0 {
		return "bad", "The trail is broken at entry " + number(v.Broken) + ".", v.Problem
	}
	return "good", "The trail is whole: " + count(v.Entries, "entry was", "entries were") + " checked.", "Its head is " + v.Head.String() + ". Keep that elsewhere, and later checks can prove that nothing was cut off."
}
