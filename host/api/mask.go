package api

import (
	"context"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/pdk"
)

// hidden stands where a person's name or data is, for those who need not see it.
const hidden = "(hidden)"

// reads tells whether the subject may see personal data of users.
func reads(ctx context.Context) bool {
	who := access.SubjectOf(ctx)
	return who == nil || who.May(access.ViewPersonalData)
}

// readsOf tells whether it may see that of an app's accounts.
func readsOf(ctx context.Context, app string) bool {
	who := access.SubjectOf(ctx)
	return who == nil || who.MayAt(access.ViewPersonalData, app)
}

// masked hides a value; that there is none stays to be seen.
func masked(v any) any {
	if v == nil {
		return nil
	}
	return hidden
}

func maskTexts(list ...*string) {
	for _, text := range list {
		if *text != "" {
			*text = hidden
		}
	}
}

// maskActors hides who did something, but not that a machine or an
// administrator did.
func maskActors(list ...*string) {
	for _, actor := range list {
		if *actor != host.Ourselves && !host.IsAdministrator(*actor) && !host.IsOutsider(*actor) {
			maskTexts(actor)
		}
	}
}

func hiddenAll(list []string) []string {
	out := make([]string, len(list))
	for i := range out {
		out[i] = hidden
	}
	return out
}

// maskedAttributes keeps the names, without values.
func maskedAttributes(values map[string]any) map[string]any {
	if values == nil {
		return nil
	}
	out := make(map[string]any, len(values))
	for name := range values {
		out[name] = hidden
	}
	return out
}

// maskUser leaves of a user what says nothing of the person: the id, whether it
// is active, what it is granted by.
func maskUser(u *host.User) {
	u.User = pdk.User{Id: u.Id, Username: hidden, IsActive: u.IsActive, IsFrozen: u.IsFrozen, Profile: u.Profile, PermissionSets: u.PermissionSets}
}

func maskRequest(r *host.UserProvisioningRequest) {
	maskTexts(&r.ManagerId, &r.ExternalUserId, &r.ErrorMessage, &r.ApprovalReason, &r.Reason)
	maskActors(&r.ApprovedBy)
	r.Attributes, r.Parameters = maskedAttributes(r.Attributes), maskedAttributes(r.Parameters)
}

func maskLog(l *host.UserProvisioningLog) {
	maskTexts(&l.ExternalUserId, &l.ExternalUsername, &l.Details)
	maskActors(&l.Actor)
	if l.Trace == nil {
		return
	}
	trace := *l.Trace // URLs, bodies and lines of a connector may name people
	trace.Logs, trace.Callouts = hiddenAll(trace.Logs), nil
	for _, c := range l.Trace.Callouts {
		trace.Callouts = append(trace.Callouts, host.Callout{Credential: c.Credential, Method: c.Method, URL: hidden, Status: c.Status, Duration: c.Duration,
			RequestBytes: c.RequestBytes, ResponseBytes: c.ResponseBytes, WaitsFor: c.WaitsFor})
	}
	l.Trace = &trace
}

func maskDrift(list []host.Difference) []host.Difference {
	out := make([]host.Difference, len(list))
	for i, d := range list {
		out[i] = host.Difference{Path: d.Path, Want: masked(d.Want), Have: masked(d.Have)}
	}
	return out
}

func maskCandidates(list []host.Candidate) []host.Candidate {
	out := append([]host.Candidate(nil), list...)
	for i := range out {
		maskTexts(&out[i].Username)
	}
	return out
}

func maskAccount(a *host.UserProvAccount) {
	maskTexts(&a.ExternalUserId, &a.ExternalUsername, &a.ExternalFirstName, &a.ExternalLastName, &a.ExternalEmail, &a.Details)
	a.Attributes, a.Drift, a.Candidates = maskedAttributes(a.Attributes), maskDrift(a.Drift), maskCandidates(a.Candidates)
}

func maskStaged(s *Staged) {
	staged := *s.UserProvAccountStaging
	maskTexts(&staged.ExternalUserId, &staged.ExternalUsername, &staged.ExternalFirstName, &staged.ExternalLastName, &staged.ExternalEmail, &staged.LinkReason, &s.Username)
	staged.Attributes, staged.Drift, staged.Candidates = maskedAttributes(staged.Attributes), maskDrift(staged.Drift), maskCandidates(staged.Candidates)
	s.UserProvAccountStaging = &staged
}

func maskPlan(p *host.Plan) {
	maskActors(&p.Actor, &p.DecidedBy)
	maskTexts(&p.DecisionReason)
}

func maskChanges(list []*host.PlannedChange) {
	for _, c := range list {
		maskTexts(&c.Subject, &c.Error)
		c.Differences = maskDrift(c.Differences)
	}
}

func maskMapping(m *Mapping) {
	for i := range m.Rules {
		m.Rules[i].Value = masked(m.Rules[i].Value)
		maskTexts(&m.Rules[i].Problem)
	}
}
