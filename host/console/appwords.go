package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func orDash(s string) string { return cmp.Or(s, "—") }

// policyText says what is done about something when all accounts are processed.
func policyText(what string) string {
	words := map[string]string{"create": "Create one", "update": "Send ours", "accept": "Keep theirs", "deactivate": "Deactivate it", "delete": "Delete it"}
	return cmp.Or(words[what], "Nothing is done")
}

// thresholdsText says what stops a batch of changes.
func thresholdsText(t host.Thresholds) string {
	var parts []string
	if t.Deactivate.Set {
		parts = append(parts, "more than "+readable(t.Deactivate.String())+" deactivated")
	}
	if t.Delete.Set {
		parts = append(parts, readable(t.Delete.String())+" deleted")
	}
	if t.Found.Set {
		parts = append(parts, "fewer than "+readable(t.Found.String())+" found")
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// operationsText lists what may be done in an app.
func operationsText(list []host.EnabledOperation) string {
	labels := map[host.EnabledOperation]string{host.EnableEnableAndDisable: "Enable and disable", host.EnableSuspendAndRestore: "Suspend and restore"}
	words := make([]string, len(list))
	for i, op := range list {
		words[i] = cmp.Or(labels[op], string(op))
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}

// whoHas says of whom an app is.
func whoHas(c *host.UserProvisioningConfig) string {
	var parts []string
	if c.Scope != "" {
		parts = append(parts, "whom the scope chooses")
	}
	if len(c.Profiles) > 0 {
		parts = append(parts, "profiles "+listed(c.Profiles))
	}
	if len(c.PermissionSets) > 0 {
		parts = append(parts, "permission sets "+listed(c.PermissionSets))
	}
	return capital(strings.Join(append(parts, "whom it is assigned"), "; "))
}

func approvalText(c *host.UserProvisioningConfig) string {
	switch c.ApprovalRequired {
	case "", "none":
		return "Not required"
	case "group":
		return "By somebody of the group “" + c.ApprovalGroup + "”"
	case "manager":
		return "By the person’s manager"
	default:
		return "By the rule " + c.ApprovalRule
	}
}

func shortDigest(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}

func signerText(signer, source string) string {
	switch {
	case signer != "":
		return signer
	case strings.HasPrefix(source, "builtin:"):
		return "part of Provost"
	default:
		return "nobody"
	}
}

// textAt is a text in a document by its path.
func textAt(document map[string]any, path string) string {
	key, rest, deeper := strings.Cut(path, ".")
	if deeper {
		inner, _ := document[key].(map[string]any)
		return textAt(inner, rest)
	}
	switch v := document[key].(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// putText puts a text into a document by its path; an empty one goes.
func putText(document map[string]any, path, value string) {
	key, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		document[key] = value
		if value == "" {
			delete(document, key)
		}
		return
	}
	inner, _ := document[key].(map[string]any)
	if inner == nil {
		if value == "" {
			return
		}
		inner = map[string]any{}
	}
	putText(inner, rest, value)
	document[key] = inner
	if len(inner) == 0 {
		delete(document, key)
	}
}

// formInt is a number of a form; 0 where it is none.
func formInt(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.PostFormValue(name), 10, 64)
	return n
}

// putDocument stores an entry of the configuration.
func (c *console) putDocument(ctx context.Context, list, name string, document map[string]any, revision int64) error {
	text, err := json.Marshal(document)
	if err != nil {
		return host.Errorf(host.InvalidInput, "it can't be written down: %w", err)
	}
	_, err = c.Service.PutSetting(ctx, list, name, text, revision)
	return err
}

func toneOfPlugin(p api.Plugin) string {
	switch p.State {
	case "serving":
		return "good"
	case "loading":
		return "info"
	default:
		return "bad"
	}
}

func accountsFound(n api.Count) string {
	if n.More {
		return "More than " + number(n.N) + " accounts"
	}
	return count(n.N, "account", "")
}

// differText says whether the values of an account are as they should be.
func differText(p userAccount) string {
	n := len(p.Drift)
	switch {
	case p.UserId == "":
		return ""
	case n == 0:
		return "as they should be"
	}
	return count(n, "value differs", "values differ")
}

// joinWords joins the words that there are.
func joinWords(words ...string) string { return strings.TrimSpace(strings.Join(words, " ")) }

func lookedUpText(look peopleLookUp) string {
	if !look.Asked {
		return ""
	}
	return count(len(look.Found), "person", "people") + " found"
}

func noneOr(s string) string { return cmp.Or(s, "none") }

// failingText is the share of the last calls of a connector that failed.
func failingText(share float64, calls int) string {
	if calls == 0 {
		return "—"
	}
	return percent(share)
}

// fuelText is how many instructions a call took.
func fuelText(u api.OperationUse) string {
	if u.Calls == 0 {
		return "—"
	}
	return number(u.Fuel / u.Calls)
}

func poolText(use api.ConnectorUse) string {
	text := "instances, " + number(use.Idle) + " of them free"
	if use.Waiting > 0 {
		text += "; " + count(use.Waiting, "call waits", "calls wait")
	}
	return text
}

// limitsText are the limits of a connector that are its own.
func limitsText(r host.Reach) string {
	own := host.Reach{MemoryMiB: r.MemoryMiB, TimeSeconds: r.TimeSeconds, HTTPCalls: r.HTTPCalls}
	if own.Empty() {
		return "those of the sandbox"
	}
	return own.String()
}

func waitingText(n int64) string {
	if n == 0 {
		return ""
	}
	return count(n, "request waits", "requests wait") + " for that."
}

func planFor(p *host.Plan, apps labels) string { return cmp.Or(apps.of(p.AppName), "the people") }

func runKind(r *host.UserProvisioningRequest) string {
	if r.ReconMode == "delta" {
		return "What has changed since the last run"
	}
	return "All accounts"
}
