package console

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// requestPath is the page of a request; a run has one of its own.
func requestPath(r *api.Request) string {
	if r.Operation == host.Reconcile {
		return Path + "/runs/" + r.Name
	}
	return Path + "/requests/" + r.Name
}

func firstPage(f requestFilter) string {
	if f.Cursor == "" {
		return ""
	}
	return f.first().path()
}

func withoutPerson(f requestFilter) requestFilter {
	f.Person = ""
	return f.first()
}

func ageOptions() []Option {
	options := make([]Option, len(requestAges))
	for i, a := range requestAges {
		options[i] = a.Option
	}
	return options
}

func whoIs(p api.Person) string { return cmp.Or(p.DisplayName, p.Username, "somebody who is no more") }

// lastDate is when a request ended, or else was made.
func lastDate(r *host.UserProvisioningRequest) time.Time {
	if r.CompletedDate != nil {
		return *r.CompletedDate
	}
	return r.CreatedDate
}

// short is the first sentence or so of a text.
func short(text string) string {
	const most = 120
	if letters := []rune(text); len(letters) > most {
		return strings.TrimSpace(string(letters[:most])) + "…"
	}
	return text
}

func approverOf(r *api.Request) string {
	switch {
	case r.Approver != "":
		return r.Approver
	case r.ApproverGroup != "":
		return "somebody of the group “" + r.ApproverGroup + "”"
	default:
		return "an administrator"
	}
}

func backField(back string) map[string]string {
	if back == "" {
		return nil
	}
	return map[string]string{"back": back}
}

// said is the line below the title of a request.
func (p requestPage) said() string {
	var parts []string
	if p.CompletedDate != nil && p.StartedDate != nil {
		parts = append(parts, "in "+took(p.CompletedDate.Sub(*p.StartedDate)))
	}
	if p.Attempt > 0 {
		parts = append(parts, "attempt "+number(p.Attempt))
	}
	if p.Reason != "" {
		parts = append(parts, p.Reason)
	}
	return strings.Join(parts, " · ")
}

// next says what a request that has not ended waits for.
func (p requestPage) next() string {
	switch {
	case p.State == host.StateNew && p.ApprovalStatus == host.ApprovalRequired:
		return "It waits for " + approverOf(p.Request) + " to approve it."
	case strings.HasPrefix(p.WaitsFor, "authorization:"):
		return "It waits for somebody to authorize " + credentialOf(p.WaitsFor) + "."
	case strings.HasPrefix(p.WaitsFor, "connector:"):
		return "It waits for the connector " + strings.TrimPrefix(p.WaitsFor, "connector:") + ", which was taken out."
	case p.WaitsFor != "":
		return "It waits for " + p.WaitsFor + ", which does not answer."
	case p.InFlight:
		return "An attempt is under way."
	case p.NextAttemptDate != nil:
		return "The next attempt:"
	case p.ScheduleDate != nil && p.State == host.StateNew:
		return "It is due"
	default:
		return "It waits for its turn."
	}
}

// nextAt is when what next says is due, nil where it is not known.
func (p requestPage) nextAt() *time.Time {
	if p.NextAttemptDate == nil && p.WaitsFor == "" && !p.InFlight && p.ScheduleDate != nil && p.State == host.StateNew && p.ApprovalStatus != host.ApprovalRequired {
		return p.ScheduleDate
	}
	return p.NextAttemptDate
}

// credentialOf is the named credential of what waits for an authorization
// ([host.AuthorizationTarget]).
func credentialOf(waitsFor string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(waitsFor, "authorization:"), "/")
	return name
}

func (p requestPage) sentTitle() string {
	if p.Attempt > 0 && !p.Preview {
		return "What was sent"
	}
	return "What would be sent"
}

// lineTone is the class of a line of what happened: no ended it badly, ko made it
// wait or go on later.
func lineTone(l *host.UserProvisioningLog) string {
	word, _, _ := strings.Cut(l.Status, " ")
	switch word {
	case "failed", "denied", "cancelled":
		return "no"
	case "attempt", "waits", "taken", "overtaken", "needs", "pending", "quarantined", "paused":
		return "ko"
	default:
		return "ok"
	}
}

// actorText is who did something, where that is not the host itself.
func actorText(actor string) string {
	if actor == host.Ourselves {
		return ""
	}
	return actor
}

// mostCallouts are shown of an attempt at once.
const mostCallouts = 5

// costText says what a call of a connector cost.
func costText(t *host.CallTrace) string {
	parts := []string{took(t.Duration - t.HTTPDuration)}
	if t.Fuel > 0 {
		parts = append(parts, "fuel "+number(t.Fuel))
	}
	if t.MemoryBytes > 0 {
		parts = append(parts, fmt.Sprintf("%.1f MB", float64(t.MemoryBytes)/(1<<20)))
	}
	return strings.Join(append(parts, count(len(t.Callouts), "call", "")), " · ")
}

func calloutStatus(c host.Callout) string {
	if c.Status == 0 {
		return "no answer"
	}
	return itoa(c.Status)
}

// calloutText says of a call how long it took, and what went wrong.
func calloutText(c host.Callout) string {
	parts := []string{took(c.Duration)}
	if c.RetryAfter > 0 {
		parts = append(parts, "Retry-After "+age(c.RetryAfter))
	}
	if c.Retries > 0 {
		parts = append(parts, "after "+count(c.Retries, "retry", "retries"))
	}
	if c.Error != "" {
		parts = append(parts, c.Error)
	}
	return strings.Join(parts, " · ")
}

// bodyText is what went out and what came back.
func bodyText(c host.Callout) string {
	var b strings.Builder
	for _, one := range []struct{ mark, body string }{{">", c.RequestBody}, {"<", c.ResponseBody}} {
		if one.body != "" {
			b.WriteString(one.mark + " " + one.body + "\n")
		}
	}
	return b.String()
}
