// Package mapping turns a user into a target's attributes, and finds what an
// account and a user have in common, by rules that an administrator writes:
// "userName = lower(user.Email)". The expressions are expr-lang's; they have
// no side effects and always end.
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
	"github.com/provosthq/provost/pdk"
)

// Mapping makes a target's attributes of a user.
type Mapping struct{ rules []rule }

type rule struct {
	path       string
	expression string
	program    *vm.Program
	// reads are the fields of the user that the expression reads.
	reads []string
	Modifiers
	kind kind
}

// kind is what a rule makes; without one, an attribute.
type kind int

const (
	// named: a name that must be unique, chosen when the account is made.
	named kind = iota + 1
	// secret: a password, made for the call that makes the account and kept
	// nowhere.
	secret
)

// RuleError is one rule that can't be used. Index is its place in the list.
type RuleError struct {
	Index   int
	Rule    string
	Message string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s): %s", e.Index+1, e.Rule, e.Message)
}

// Compile checks and compiles rules of the form "path = expression
// [modifiers]", which look nothing up.
func Compile(rules []string, attributes []pdk.Attribute) (*Mapping, error) {
	return Tables(nil).Compile(rules, attributes)
}

// Compile checks and compiles rules of the form "path = expression
// [modifiers]". attributes are those that the connector declares: a path into
// a list that is written emails.work means emails[work].value. The error joins
// a *[RuleError] for each wrong rule.
func (t Tables) Compile(rules []string, attributes []pdk.Attribute) (*Mapping, error) {
	m := &Mapping{}
	var errs []error
	seen := map[string]bool{}
	for i, text := range rules {
		bad := func(format string, args ...any) {
			errs = append(errs, &RuleError{i, text, fmt.Sprintf(format, args...)})
		}
		left, right, ok := cut(text)
		if !ok {
			bad("is not of the form attribute = expression")
			continue
		}
		path := keyed(left, attributes)
		if !pdk.ValidPath(path) {
			bad("%q is no path; write userName, name.givenName, emails[work].value or urn:…:User:department", left)
			continue
		}
		if seen[path] {
			bad("%s is mapped twice", path)
			continue
		}
		seen[path] = true
		r, err := t.compileRule(path, right)
		if err != nil {
			bad("%s: %v", path, err)
			continue
		}
		m.rules = append(m.rules, r)
	}
	return m, errors.Join(errs...)
}

func (t Tables) compileRule(path, text string) (r rule, err error) {
	r.path = path
	if r.expression, r.Modifiers, err = modifiers(text); err != nil {
		return r, err
	}
	called := &calls{tables: t}
	if r.program, r.reads, err = t.compile(r.expression, "user", expr.Patch(called)); err != nil {
		return r, err
	}
	alone := func(name string, n int) error {
		if results(r.program.Node(), name) < n {
			return fmt.Errorf("%s must be all that the rule makes, not a part of it", name)
		}
		return nil
	}
	switch {
	case called.unique > 0 && called.password > 0:
		return r, errors.New("makes a name and a password; one of them")
	case called.unique > 0:
		r.kind, r.OnCreate, err = named, true, alone("unique", called.unique)
	case called.password > 0:
		r.kind, r.OnCreate, err = secret, true, alone("randomPassword", called.password)
	case called.now > 0:
		err = errors.New("now() is another value each time, which would be a change each time")
	}
	return r, err
}

// results counts the places where an expression ends in a call of a function.
func results(node ast.Node, name string) int {
	switch n := node.(type) {
	case *ast.ConditionalNode:
		return results(n.Exp1, name) + results(n.Exp2, name)
	case *ast.VariableDeclaratorNode:
		return results(n.Expr, name)
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok && id.Value == name {
			return 1
		}
	}
	return 0
}

// Apply makes the attributes of a user. A rule that ends in nothing ("" or
// nil) makes no attribute, one that makes a password neither.
func (m *Mapping) Apply(u *host.User) (map[string]any, error) {
	env := map[string]any{"user": userEnv(u)}
	out := map[string]any{}
	for _, r := range m.rules {
		if r.kind == secret {
			continue
		}
		v, err := r.value(env)
		if err != nil {
			return nil, r.failed(u, err)
		}
		if v != nil {
			pdk.SetPath(out, r.path, v)
		}
	}
	return out, nil
}

// value is what the rule makes, nil for nothing.
func (r rule) value(env map[string]any) (any, error) {
	v, err := evaluate(r.program, env)
	if v == "" {
		v = nil
	}
	return v, err
}

func (r rule) failed(u *host.User, err error) error {
	return host.Errorf(host.InvalidInput, "mapping of %s for %s: %s", r.path, u.Username, oneLine(err))
}

// Trial is what one rule makes of a user.
type Trial struct {
	Path, Expression string
	Modifiers
	// Unique: Value is the first name of those that may be chosen.
	Unique bool
	// Secret: Value is none; one was made and forgotten.
	Secret bool
	Value  any
	Err    error
}

// Try runs each rule on a user; on nil it only tells the rules.
func (m *Mapping) Try(u *host.User) []Trial {
	trials := make([]Trial, len(m.rules))
	for i, r := range m.rules {
		t := &trials[i]
		*t = Trial{Path: r.path, Expression: r.expression, Modifiers: r.Modifiers, Unique: r.kind == named, Secret: r.kind == secret}
		if u == nil {
			continue
		}
		v, err := r.value(map[string]any{"user": userEnv(u)})
		if err != nil {
			t.Err = errors.New(oneLine(err))
		}
		if nth, ok := Mark(v); ok {
			v = nth(1)
		}
		if !t.Secret {
			t.Value = v
		}
	}
	return trials
}

// Secrets makes the passwords of a new account, by path. Each call makes
// others.
func (m *Mapping) Secrets(u *host.User) (map[string]string, error) {
	var out map[string]string
	for _, r := range m.rules {
		if r.kind != secret {
			continue
		}
		v, err := r.value(map[string]any{"user": userEnv(u)})
		if err != nil {
			return nil, r.failed(u, err)
		}
		if text, ok := v.(string); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[r.path] = text
		}
	}
	return out, nil
}

// OfAccount is what of a user's attributes is sent for an account that is
// there: all but those for new ones.
func (m *Mapping) OfAccount(attributes map[string]any) map[string]any {
	if !slices.ContainsFunc(m.rules, func(r rule) bool { return r.OnCreate && r.kind != secret }) {
		return attributes
	}
	out := clone(attributes).(map[string]any)
	for _, r := range m.rules {
		if r.OnCreate {
			remove(out, r.path)
		}
	}
	return out
}

// Paths are the paths that are mapped, in the order of the rules.
func (m *Mapping) Paths() []string {
	paths := make([]string, len(m.rules))
	for i, r := range m.rules {
		paths[i] = r.path
	}
	return paths
}

// Unmapped are the attributes that a connector says it needs and that nothing
// maps.
func (m *Mapping) Unmapped(attributes []pdk.Attribute) []string {
	return m.unmapped("", attributes)
}

func (m *Mapping) unmapped(prefix string, attributes []pdk.Attribute) []string {
	var missing []string
	for _, a := range attributes {
		path := prefix + a.Name
		whole, part := false, false
		for _, r := range m.rules {
			whole = whole || strings.EqualFold(r.path, path)
			rest, within := cutFold(r.path, path)
			part = part || within && rest != "" && strings.ContainsRune(".[:", rune(rest[0]))
		}
		switch {
		case whole:
		case !part && a.Required:
			missing = append(missing, path)
		case part && !a.MultiValued:
			missing = append(missing, m.unmapped(path+".", a.SubAttributes)...)
		}
	}
	return missing
}

func cutFold(text, prefix string) (rest string, ok bool) {
	if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return "", false
	}
	return text[len(prefix):], true
}

// Changed returns the mapped paths whose value differs between two users'
// attributes. Paths that only say whether the user is active are left out: to
// activate and to deactivate are operations of their own; and so are those for
// new accounts.
func (m *Mapping) Changed(before, after map[string]any) []string {
	var changed []string
	for _, r := range m.rules {
		if r.onlyStatus() || r.OnCreate {
			continue
		}
		b, _ := pdk.GetPath(before, r.path)
		a, _ := pdk.GetPath(after, r.path)
		if !same(b, a) && !r.leaves(a) {
			changed = append(changed, r.path)
		}
	}
	return changed
}

// leaves tells whether the value says that the target keeps what it has.
func (r rule) leaves(value any) bool { return r.EmptyLeaves && (value == nil || value == "") }

func (r rule) onlyStatus() bool {
	if len(r.reads) == 0 {
		return false
	}
	for _, field := range r.reads {
		if field != "IsActive" && field != "IsFrozen" {
			return false
		}
	}
	return true
}

// Drift compares what the mapping wants with what a target has. With partial,
// what the target did not list is unknown and no difference.
func (m *Mapping) Drift(want, have map[string]any, partial bool) []host.Difference {
	var drift []host.Difference
	for _, r := range m.rules {
		w, _ := pdk.GetPath(want, r.path)
		h, there := pdk.GetPath(have, r.path)
		if r.OnCreate || !there && partial || same(w, h) || r.leaves(w) {
			continue
		}
		drift = append(drift, host.Difference{Path: r.path, Want: w, Have: h})
	}
	return drift
}

// Initial is what a new account gets. Of names that are yet to be chosen it is
// the first; passwords are not told.
func (m *Mapping) Initial(want map[string]any) []host.Difference {
	var list []host.Difference
	for _, r := range m.rules {
		value, ok := pdk.GetPath(want, r.path)
		if !ok {
			continue
		}
		if nth, is := Mark(value); is {
			value = nth(1)
		}
		list = append(list, host.Difference{Path: r.path, Want: value})
	}
	return list
}

// same compares two values as a target would: nothing is "", and a number or a
// boolean that a target wrote as a string is the same.
func same(a, b any) bool {
	if a == nil {
		a = ""
	}
	if b == nil {
		b = ""
	}
	if reflect.DeepEqual(a, b) {
		return true
	}
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	_, aBool := a.(bool)
	_, bBool := b.(bool)
	if aBool || bBool {
		return strings.EqualFold(fmt.Sprint(a), fmt.Sprint(b))
	}
	return textOf(a) == textOf(b)
}

// Scope is an expression over the user that says who is in.
type Scope struct{ program *vm.Program }

// CompileScope compiles an expression that must be true or false.
func CompileScope(text string) (*Scope, error) { return Tables(nil).CompileScope(text) }

// CompileScope compiles an expression that must be true or false.
func (t Tables) CompileScope(text string) (*Scope, error) {
	program, _, err := t.compile(text, "user", expr.AsBool())
	if err != nil {
		return nil, err
	}
	return &Scope{program}, nil
}

// Holds tells whether the user is in.
func (s *Scope) Holds(u *host.User) (bool, error) {
	v, err := evaluate(s.program, map[string]any{"user": userEnv(u)})
	if err != nil {
		return false, host.Errorf(host.InvalidInput, "scope for %s: %s", u.Username, oneLine(err))
	}
	in, ok := v.(bool)
	if !ok {
		return false, host.Errorf(host.InvalidInput, "scope for %s: ends in %s, not in true or false", u.Username, kindOf(v))
	}
	return in, nil
}
