package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/format"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Replay is an attempt at a request as a test for the author of its connector:
// the connector is called with what the request had, and a target answers what
// the target of then did. Nothing of it has a secret.
type Replay struct {
	// Source is a Go test file, "" where the trace does not have enough.
	Source string `json:"source"`
	// Holds says what was recorded, and what to do for more.
	Holds string `json:"holds"`
	// Attempt is the one that it is of, 0 for none.
	Attempt int `json:"attempt,omitempty"`
}

// ReplayOf makes a test of the newest attempt of a request that called its
// target.
func ReplayOf(r *host.UserProvisioningRequest, logs []*host.UserProvisioningLog) Replay {
	var of *host.UserProvisioningLog
	for _, l := range logs {
		if l.Trace != nil && (of == nil || of.Trace.Callouts == nil || len(l.Trace.Callouts) > 0) {
			of = l
		}
	}
	if of == nil {
		return Replay{Holds: "no attempt was recorded: nothing was asked of the connector, or its trace was removed since"}
	}
	out := Replay{Attempt: of.Attempt}
	calls, bodies := of.Trace.Callouts, 0
	for _, c := range calls {
		if recorded(c) {
			bodies++
		}
	}
	switch {
	case len(calls) == 0:
		out.Holds = fmt.Sprintf("attempt %d asked nothing of the target", of.Attempt)
	case bodies < len(calls):
		out.Holds = fmt.Sprintf("attempt %d has %d calls with method, address and status; of %d of them what was sent and answered was not kept, as it is where a person asks for a request. Run it again, and copy the new request as a test", of.Attempt, len(calls), len(calls)-bodies)
		return out
	default:
		out.Holds = fmt.Sprintf("attempt %d with its %d calls, what was sent and what was answered; secrets are masked, people are not", of.Attempt, len(calls))
	}
	out.Source = replaySource(r, of)
	return out
}

// recorded tells whether enough of a call was kept to answer it again.
func recorded(c host.Callout) bool {
	whole := c.Refused || c.Status == 0 || c.ResponseBytes == 0 || c.ResponseBody != ""
	return whole && (c.RequestBytes == 0 || c.RequestBody != "")
}

func replaySource(r *host.UserProvisioningRequest, of *host.UserProvisioningLog) string {
	var b strings.Builder
	t := of.Trace
	credential := "Target"
	for _, c := range t.Callouts {
		credential = cmp.Or(credentialOf(c), credential)
	}
	fmt.Fprintf(&b, "package main\n\nimport (\n\"io\"\n\"net/http\"\n\"testing\"\n\n\"github.com/provosthq/provost/pdk\"\n\"github.com/provosthq/provost/pdk/pdktest\"\n)\n\n")
	fmt.Fprintf(&b, "// %s: %s by %s, attempt %d. Its secrets are masked. What names people is\n// as it was: invent others before you pass it on.\n", r.Name(), r.Operation, t.Connector, of.Attempt)
	fmt.Fprintf(&b, "func Test%s(t *testing.T) {\n", strings.NewReplacer("-", "", " ", "").Replace(r.Name()))
	b.WriteString("answers := []struct{\nmethod, path, sent string\nstatus int\nheader map[string]string\nbody string\n}{\n")
	for _, c := range t.Callouts {
		if c.Refused || c.Status == 0 {
			fmt.Fprintf(&b, "// %s %s came to nothing: %s\n", c.Method, oneLine(c.URL), oneLine(c.Error))
		}
		fmt.Fprintf(&b, "{method: %q, path: %q, sent: %s, status: %d, header: %#v, body: %s},\n", c.Method, pathOf(c.URL), literal(c.RequestBody), c.Status, answerHeaders(c.ResponseHeader), literal(c.ResponseBody))
	}
	b.WriteString(`}
	n := 0
	target := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n >= len(answers) {
			t.Errorf("%s %s is asked once more than it was", r.Method, r.URL.RequestURI())
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		a := answers[n]
		n++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != a.method || r.URL.RequestURI() != a.path || string(body) != a.sent {
			t.Errorf("call %d is %s %s\n%s\nand was %s %s\n%s", n, r.Method, r.URL.RequestURI(), body, a.method, a.path, a.sent)
		}
		if a.status == 0 {
			panic(http.ErrAbortHandler) // no answer came
		}
		for name, value := range a.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
	_, description := pdk.Registered()
`)
	fmt.Fprintf(&b, "h := pdktest.New(t, connector{}, description, pdktest.NamedCredential(%q), pdktest.Handler(target))\n", credential)
	fmt.Fprintf(&b, "_, err := h.Call(%q, %s)\n", pdk.Operation(t.Operation), inputSource(r))
	if r.State == host.StateCompleted || r.State == host.StateManuallyCompleted {
		b.WriteString("if err != nil {\nt.Fatal(err)\n}\n")
	} else {
		fmt.Fprintf(&b, "// Then it ended with %s: %s\nif err == nil {\nt.Error(\"it did not fail\")\n}\n", orNothing(string(r.ErrorCode)), oneLine(orNothing(r.ErrorMessage)))
	}
	b.WriteString("if n != len(answers) {\nt.Errorf(\"%d of %d calls were made\", n, len(answers))\n}\n}\n")
	source, err := format.Source([]byte(b.String()))
	if err != nil {
		return b.String()
	}
	return string(source)
}

// inputSource is what the connector is called with.
func inputSource(r *host.UserProvisioningRequest) string {
	var b strings.Builder
	b.WriteString("pdk.Input{\n")
	if r.ExternalUserId != "" {
		fmt.Fprintf(&b, "UserProvAccount: &pdk.UserProvAccount{ExternalUserId: %q},\n", r.ExternalUserId)
	}
	if len(r.Attributes) > 0 {
		fmt.Fprintf(&b, "Attributes: %s,\n", goValue(plainOf(r.Attributes)))
	}
	if len(r.ChangedAttributes) > 0 {
		fmt.Fprintf(&b, "ChangedAttributes: %#v,\n", r.ChangedAttributes)
	}
	if len(r.Parameters) > 0 {
		fmt.Fprintf(&b, "Parameters: %s,\n", goValue(plainOf(r.Parameters)))
	}
	b.WriteString("}")
	return b.String()
}

// plainOf is a value of what JSON has.
func plainOf(v any) (out any) {
	text, err := json.Marshal(v)
	if err == nil {
		_ = json.Unmarshal(text, &out) // it is what Marshal made
	}
	return out
}

// goValue is a value of what JSON has, in Go.
func goValue(v any) string {
	var b strings.Builder
	switch v := v.(type) {
	case map[string]any:
		b.WriteString("map[string]any{\n")
		for _, key := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "%q: %s,\n", key, goValue(v[key]))
		}
		b.WriteString("}")
	case []any:
		b.WriteString("[]any{\n")
		for _, one := range v {
			fmt.Fprintf(&b, "%s,\n", goValue(one))
		}
		b.WriteString("}")
	case string:
		b.WriteString(strconv.Quote(v))
	case float64:
		fmt.Fprintf(&b, "float64(%s)", strconv.FormatFloat(v, 'g', -1, 64))
	case nil:
		b.WriteString("nil")
	default:
		fmt.Fprintf(&b, "%v", v)
	}
	return b.String()
}

// answerHeaders are the headers of an answer that a connector may read; what the host
// itself makes is left out.
func answerHeaders(header map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range header {
		if !slices.Contains([]string{"date", "content-length", "connection"}, strings.ToLower(name)) {
			out[name] = value
		}
	}
	return out
}

// literal is a text in Go, as it is read best.
func literal(s string) string {
	if strings.ContainsAny(s, "\"\n") && strconv.CanBackquote(strings.ReplaceAll(s, "\n", "")) && !strings.Contains(s, "\r") {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func orNothing(s string) string { return cmp.Or(s, "nothing") }

// credentialOf is the named credential in callout:NAME/path, pathOf the path with
// its query.
func credentialOf(c host.Callout) string {
	rest, is := strings.CutPrefix(c.URL, "callout:")
	name, _, _ := strings.Cut(rest, "/")
	if !is {
		return c.Credential
	}
	return name
}

func pathOf(url string) string {
	rest, _ := strings.CutPrefix(url, "callout:")
	_, path, _ := strings.Cut(rest, "/")
	return "/" + path
}
