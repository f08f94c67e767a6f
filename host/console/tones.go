package console

import "github.com/provosthq/provost/host"

// A tone is what a colour says, beside its word: good, warn (a person should
// look), bad (it does not work), info (something is under way or new) or plain.

func toneOfRequest(r *host.UserProvisioningRequest) string {
	if r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired || r.State == host.StateAnalyzed {
		return "warn"
	}
	return toneOfState(r.State)
}

func toneOfState(s host.RequestState) string {
	switch s {
	case host.StateCompleted, host.StateManuallyCompleted:
		return "good"
	case host.StateFailed:
		return "bad"
	case host.StateRetried, host.StateCancelled:
		return "plain"
	default:
		return "info"
	}
}

// wordOfRequest is the state of a request, with what it waits for where that is
// a person.
func wordOfRequest(r *host.UserProvisioningRequest) string {
	switch {
	case r.State == host.StateNew && r.ApprovalStatus == host.ApprovalRequired:
		return "Waits for approval"
	case r.ApprovalStatus == host.ApprovalDenied:
		return "Denied"
	case r.Paused:
		return "Paused"
	case r.State == host.StateAnalyzed:
		return "Waits for review"
	default:
		return string(r.State)
	}
}

func toneOfLink(s host.LinkState) string {
	switch s {
	case host.Linked:
		return "good"
	case host.Duplicate:
		return "warn"
	default:
		return "plain"
	}
}

func toneOfNotice(k host.NoticeKind) string {
	switch k {
	case host.NoticeCredential, host.NoticeConnector, host.NoticeConfiguration, host.NoticeTarget, host.NoticeSetting:
		return "bad"
	case host.NoticeThreshold, host.NoticeApproval:
		return "warn"
	default:
		return "info"
	}
}
