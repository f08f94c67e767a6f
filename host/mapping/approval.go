package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/provosthq/provost/host"
)

// Approval is an expression over the user and the request that says who must
// approve the request.
type Approval struct {
	program *vm.Program
	groups  []string
}

// requestFields are what an approval rule may read of a request.
var requestFields = []string{"Operation", "AppName", "Attributes", "ChangedAttributes", "Reason", "RetryCount"}

// CompileApproval compiles a rule that ends in false or nothing (no approval),
// true or "manager", "group NAME", or a username.
func CompileApproval(text string) (*Approval, error) {
	asked, literals := &fields{record: "request"}, &groupNames{}
	program, _, err := Tables(nil).compile(text, "user", expr.Env(map[string]any{"user": map[string]any{}, "request": map[string]any{}}),
		expr.Patch(asked), expr.Patch(literals))
	if err != nil {
		return nil, err
	}
	for _, name := range asked.names {
		if slices.Contains(requestFields, name) {
			continue
		}
		if near := nearest(name, requestFields); near != "" {
			return nil, fmt.Errorf("unknown field request.%s; did you mean request.%s?", name, near)
		}
		return nil, fmt.Errorf("unknown field request.%s; there is %s", name, strings.Join(requestFields, ", "))
	}
	if t := program.Node().Type(); t != nil {
		switch t.Kind() {
		case reflect.Bool, reflect.String, reflect.Interface:
		default:
			return nil, errors.New(`must end in true, false, "manager", "group NAME" or a username`)
		}
	}
	return &Approval{program, literals.names}, nil
}

// Groups are the groups that the rule names in so many words.
func (a *Approval) Groups() []string { return a.groups }

// Of says who must approve a request for a user.
func (a *Approval) Of(u *host.User, r *host.UserProvisioningRequest) (host.Approver, error) {
	changed := make([]any, len(r.ChangedAttributes))
	for i, path := range r.ChangedAttributes {
		changed[i] = path
	}
	attributes := r.Attributes
	if attributes == nil {
		attributes = map[string]any{}
	}
	v, err := evaluate(a.program, map[string]any{"user": userEnv(u), "request": map[string]any{
		"Operation": string(r.Operation), "AppName": r.AppName, "Attributes": attributes, "ChangedAttributes": changed,
		"Reason": r.Reason, "RetryCount": r.RetryCount,
	}})
	if err != nil {
		return host.Approver{}, host.Errorf(host.InvalidInput, "the approval rule: %s", oneLine(err))
	}
	switch v := v.(type) {
	case nil:
		return host.Approver{}, nil
	case bool:
		return host.Approver{Needed: v, Manager: v}, nil
	case string:
		v = strings.TrimSpace(v)
		if group, ok := groupOf(v); ok {
			return host.Approver{Needed: true, Group: group}, nil
		}
		if v == "manager" {
			return host.Approver{Needed: true, Manager: true}, nil
		}
		return host.Approver{Needed: v != "", Username: v}, nil
	default:
		return host.Approver{}, host.Errorf(host.InvalidInput, `the approval rule ends in %v, which is not true, false, "manager", "group NAME" or a username`, v)
	}
}

func groupOf(text string) (string, bool) {
	name, ok := strings.CutPrefix(text, "group ")
	return strings.TrimSpace(name), ok
}

// groupNames collects "group NAME" while an expression is compiled.
type groupNames struct{ names []string }

func (g *groupNames) Visit(node *ast.Node) {
	if s, ok := (*node).(*ast.StringNode); ok {
		if name, ok := groupOf(strings.TrimSpace(s.Value)); ok && !slices.Contains(g.names, name) {
			g.names = append(g.names, name)
		}
	}
}
