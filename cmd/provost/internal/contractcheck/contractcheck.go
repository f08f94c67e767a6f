// Package contractcheck tries a compiled connector, written by anyone in any
// language, against the contract: it plays a host whose targets misbehave and
// looks at what the connector makes of it. It knows no connector and calls no
// real target.
package contractcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// Outcome of one check.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is one line of the report.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Detail says what is wrong and what the contract wants, or why it was
	// skipped.
	Detail string `json:"detail,omitempty"`
}

// Run makes every check. A connector that does not load ends the run after the
// first. The error is only for a run that could not be made.
func Run(ctx context.Context, sb *sandbox.Runtime, name string, wasm []byte) ([]Result, error) {
	t := &trial{ctx: ctx, sandbox: sb, name: name, wasm: wasm}
	t.run()
	if ctx.Err() != nil {
		return t.results, host.Errorf(host.Cancelled, "the checks of %s: %w", name, ctx.Err())
	}
	return t.results, nil
}

type trial struct {
	ctx     context.Context
	sandbox *sandbox.Runtime
	name    string
	wasm    []byte

	module      *sandbox.Module
	description pdk.Description
	results     []Result
}

func (t *trial) report(check string, err error) {
	r := Result{Check: check, Outcome: OK}
	if err != nil {
		r.Outcome, r.Detail = Failed, err.Error()
	}
	t.results = append(t.results, r)
}

func (t *trial) skip(check, why string) {
	t.results = append(t.results, Result{Check: check, Outcome: Skipped, Detail: why})
}

func (t *trial) run() {
	const loads = "loads and describes itself, lists only what it exports"
	found, err := connector.Inspect(t.ctx, t.sandbox, t.name, t.wasm)
	if err == nil {
		t.module, err = t.sandbox.Load(t.ctx, t.name, t.wasm, sandbox.Limits{})
	}
	t.report(loads, err)
	if err != nil {
		return
	}
	defer func() {
		if err := t.module.Close(t.ctx); err != nil {
			t.report("closes", err)
		}
	}()
	t.description = found.Description

	t.report("describe is static", t.describeTwice())
	t.report("version is semantic", t.version())
	t.report("operations fit together", t.operations())
	t.report("mapping and attributes are well formed", t.attributes())
	for _, op := range t.description.Operations {
		if op == pdk.OpDescribe || !slices.Contains(pdk.Operations, op) {
			continue
		}
		t.operation(op)
	}
	t.unlisted()
}

func (t *trial) describeTwice() error {
	first, err := t.call(pdk.OpDescribe, nil, answers["unreachable"])
	if err != nil {
		return err
	}
	second, err := t.call(pdk.OpDescribe, []byte(`{"operation":"describe","settings":{"a":1}}`), answers["empty object"])
	if err != nil {
		return err
	}
	if !bytes.Equal(first.output, second.output) {
		return errors.New("two calls gave two descriptions; it must not depend on input, time or chance")
	}
	return nil
}

// semantic is the pattern that semver.org suggests, without its groups.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func (t *trial) version() error {
	if !semantic.MatchString(t.description.Version) {
		return fmt.Errorf("$.version: %q must be of the form 1.2.3 (semver.org)", t.description.Version)
	}
	return nil
}

func (t *trial) operations() error {
	ops := t.description.Operations
	seen := map[pdk.Operation]bool{}
	for i, op := range ops {
		if seen[op] {
			return fmt.Errorf("$.operations[%d]: %q is listed twice", i, op)
		}
		seen[op] = true
		if !slices.Contains(pdk.Operations, op) {
			return fmt.Errorf("$.operations[%d]: the contract has no operation %q", i, op)
		}
	}
	switch {
	case !seen[pdk.OpDescribe]:
		return errors.New("$.operations: describe must be listed too")
	case len(seen) == 1:
		return errors.New("$.operations: it lists describe only, so it can do nothing")
	case seen[pdk.OpCreate] && !seen[pdk.OpRead] && !seen[pdk.OpReconcile]:
		return errors.New("$.operations: create without read or reconcile: a create whose answer is lost can't be looked up, so a person must do it")
	}
	return nil
}

func (t *trial) attributes() error {
	seen := map[string]bool{}
	for i, a := range t.description.Attributes {
		if a.Name == "" {
			return fmt.Errorf("$.attributes[%d].name: is missing", i)
		}
		if seen[a.Name] {
			return fmt.Errorf("$.attributes[%d].name: %q is there twice", i, a.Name)
		}
		seen[a.Name] = true
	}
	for i, rule := range t.description.DefaultMapping {
		if !strings.Contains(rule, "=") {
			return fmt.Errorf("$.defaultMapping[%d]: %q must be of the form: target = expression", i, rule)
		}
	}
	for i, rule := range t.description.DefaultLink {
		if !strings.Contains(rule, "=") {
			return fmt.Errorf("$.defaultLink[%d]: %q must be of the form: account expression = user expression", i, rule)
		}
	}
	return nil
}

// operation makes the checks of one operation.
func (t *trial) operation(op pdk.Operation) {
	good := inputOf(op, nil)
	t.report(string(op)+": refuses an input that is no JSON", t.refuses(op, []byte(`{"operation":`)))
	t.report(string(op)+": refuses an input of a wrong type", t.refuses(op, []byte(`{"operation":["`+string(op)+`"],"attributes":"none"}`)))
	t.report(string(op)+": ignores fields that it does not know", t.ignores(op))

	var problems []string
	asked := 0
	for _, target := range targets {
		got, err := t.call(op, good, answers[target])
		asked += got.calls
		if err == nil && got.calls > 0 {
			err = expect(target, got)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("target %s: %s", target, err))
		}
	}
	check := string(op) + ": stands a target that fails or answers nonsense"
	switch {
	case len(problems) > 0:
		t.report(check, errors.New(strings.Join(problems, "; ")))
	case asked == 0:
		t.skip(check, "it made no HTTP call for the input of this check")
	default:
		t.report(check, nil)
	}
}

// expect says what a connector that has asked a failing target must answer.
func expect(target string, got answer) error {
	want, ok := map[string]pdk.ErrorType{"answers 401": pdk.Unauthorized, "answers 429": pdk.RateLimited, "unreachable": pdk.Unavailable}[target]
	if !ok {
		return nil
	}
	switch {
	case got.failure == nil:
		return fmt.Errorf("it answers as if all went well; the contract wants %s", want)
	case got.failure.Type != want:
		return fmt.Errorf("it answers %s; the contract wants %s", got.failure.Type, want)
	case want == pdk.RateLimited && got.failure.RetryAfterSeconds != retryAfter:
		return fmt.Errorf("its retryAfterSeconds is %d; the target's Retry-After is %d", got.failure.RetryAfterSeconds, retryAfter)
	}
	return nil
}

// refuses wants a typed InvalidInput.
func (t *trial) refuses(op pdk.Operation, input []byte) error {
	got, err := t.call(op, input, answers["empty object"])
	switch {
	case err != nil:
		return err
	case got.failure == nil:
		return errors.New("it answers as if all went well; the contract wants InvalidInput")
	case got.failure.Type != pdk.InvalidInput:
		return fmt.Errorf("it answers %s (%s); the contract wants InvalidInput", got.failure.Type, got.failure.Message)
	case got.calls > 0:
		return errors.New("it asked the target before it looked at its input")
	}
	return nil
}

// ignores wants the same answer with and without unknown fields.
func (t *trial) ignores(op pdk.Operation) error {
	plain, err := t.call(op, inputOf(op, nil), answers["unreachable"])
	if err != nil {
		return err
	}
	more, err := t.call(op, inputOf(op, map[string]any{"aFieldOfALaterVersion": map[string]any{"list": []int{1, 2}}}), answers["unreachable"])
	if err != nil {
		return err
	}
	if plain.word() != more.word() {
		return fmt.Errorf("it answers %s without an unknown field and %s with one; the contract only grows, so it must ignore it", plain.word(), more.word())
	}
	return nil
}

// unlisted wants Unsupported of what is exported and not listed.
func (t *trial) unlisted() {
	const check = "answers Unsupported to what it exports and does not list"
	var problems []string
	tried := 0
	for _, op := range pdk.Operations {
		if slices.Contains(t.description.Operations, op) || !slices.Contains(t.module.Exports(), string(op)) {
			continue
		}
		tried++
		got, err := t.call(op, inputOf(op, nil), answers["empty object"])
		switch {
		case err != nil:
			problems = append(problems, err.Error())
		case got.failure == nil || got.failure.Type != pdk.Unsupported:
			problems = append(problems, fmt.Sprintf("%s answers %s", op, got.word()))
		}
	}
	switch {
	case len(problems) > 0:
		t.report(check, errors.New(strings.Join(problems, "; ")))
	case tried == 0:
		t.skip(check, "it exports nothing that it does not list")
	default:
		t.report(check, nil)
	}
}

// answer is what one call came to: an output or a typed error.
type answer struct {
	output  []byte
	failure *pdk.Error
	calls   int // of HTTP
}

// word is the answer in one: ok or the error's type.
func (a answer) word() string {
	if a.failure != nil {
		return string(a.failure.Type)
	}
	return "ok"
}

// call runs one operation against a target of one answer. The error is a fault
// of the connector: a trap, a limit, an output or an error that the contract
// does not allow.
func (t *trial) call(op pdk.Operation, input []byte, target *sandbox.HTTPResponse) (answer, error) {
	var a answer
	foreign := ""
	out, _, err := t.module.Call(t.ctx, string(op), input, sandbox.Env{
		HTTP: func(_ context.Context, r *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			a.calls++
			if !strings.HasPrefix(r.URL, "callout:"+credential+"/") {
				foreign = r.Method + " " + r.URL
			}
			return &sandbox.HTTPResponse{Status: target.Status, Header: target.Header, Body: target.Body}
		},
	})
	var e *sandbox.Error
	switch {
	case errors.As(err, &e) && e.Kind == sandbox.KindGuest:
		a.failure = pdk.DecodeError(e.Payload)
		if !typed(e.Payload) {
			return a, fmt.Errorf("%s: its error is no error document of the contract: %s", op, a.failure.Message)
		}
		return a, nil
	case err != nil:
		return a, err
	case foreign != "":
		return a, fmt.Errorf("%s: it asked for %s; the call's credential is reached by callout:%s/path", op, foreign, credential)
	}
	a.output = out
	switch op {
	case pdk.OpDescribe:
		_, err = pdk.DecodeDescription(out)
	case pdk.OpDiscover:
		_, err = pdk.DecodeDiscovery(out)
	default:
		_, err = pdk.DecodeOutput(out)
	}
	if err != nil {
		return a, fmt.Errorf("%s: its output: %w", op, err)
	}
	return a, nil
}

// typed tells whether an error is a document of the contract with a type that
// the contract has.
func typed(payload []byte) bool {
	var e pdk.Error
	return json.Unmarshal(payload, &e) == nil && slices.Contains(pdk.ErrorTypes, e.Type)
}

const (
	credential = "Contract_Check"
	retryAfter = 7
)

// inputOf is a whole input of an operation, with further fields.
func inputOf(op pdk.Operation, more map[string]any) []byte {
	in := pdk.Input{
		UserProvisioningRequestId: "01990000-0000-7000-8000-000000000001", UserId: "01990000-0000-7000-8000-000000000002",
		NamedCredDevName: credential, Operation: op, ObjectClass: pdk.ObjectClassAccount, Mode: pdk.ModeFull, Attempt: 1,
		IdempotencyKey: "01990000-0000-7000-8000-000000000003", PendingToken: "token-1",
		User: &pdk.User{Id: "01990000-0000-7000-8000-000000000002", Username: "ada@example.com", FirstName: "Ada", LastName: "Lovelace",
			Email: "ada@example.com", IsActive: true},
		UserProvAccount: &pdk.UserProvAccount{ExternalUserId: "4 2/ü", ExternalUsername: "ada@example.com"},
		Attributes: map[string]any{"userName": "ada@example.com", "active": true, "name": map[string]any{"givenName": "Ada", "familyName": "Lovelace"},
			"emails": []any{map[string]any{"type": "work", "value": "ada@example.com", "primary": true}}},
		ChangedAttributes: []string{"userName"},
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err) // a value of this file
	}
	if len(more) == 0 {
		return b
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err) // what was just written
	}
	for name, v := range more {
		doc[name] = v
	}
	if b, err = json.Marshal(doc); err != nil {
		panic(err)
	}
	return b
}

// targets are the ways in which a target misbehaves, in the order of the
// report.
var targets = []string{"unreachable", "answers 401", "answers 429", "answers 500", "answers HTML", "answers nothing", "empty object", "answers a list", "answers wrong types"}

var answers = map[string]*sandbox.HTTPResponse{
	"unreachable":         {Body: []byte(`{"type":"Unavailable","message":"the target can't be reached"}`)},
	"answers 401":         reply(401, "application/json", `{"error":"invalid_token"}`),
	"answers 429":         {Status: 429, Header: map[string]string{"content-type": "text/plain", "retry-after": fmt.Sprint(retryAfter)}, Body: []byte("slow down")},
	"answers 500":         reply(500, "text/html", "<html>Internal Server Error</html>"),
	"answers HTML":        reply(200, "text/html", "<html><body>Sign in</body></html>"),
	"answers nothing":     reply(200, "application/json", ""),
	"empty object":        reply(200, "application/json", `{}`),
	"answers a list":      reply(200, "application/json", `[1,"two",null]`),
	"answers wrong types": reply(200, "application/json", `{"id":{"a":1},"userName":7,"Resources":"none","totalResults":"many","Users":5,"accounts":true,"users":{}}`),
}

func reply(status int, contentType, body string) *sandbox.HTTPResponse {
	return &sandbox.HTTPResponse{Status: status, Header: map[string]string{"content-type": contentType}, Body: []byte(body)}
}
