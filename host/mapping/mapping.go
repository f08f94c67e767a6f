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
	path    string
	program *vm.Program
	// reads are the fields of the user that the expression reads.
	reads []string
}

// RuleError is one rule that can't be used. Index is its place in the list.
type RuleError struct {
	Index   int
	Rule    string
	Message string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s): %s", e.Index+1, e.Rule, e.Message)
}

// Compile checks and compiles rules of the form "path = expression".
// attributes are those that the connector declares: a path into a list that
// is written emails.work means emails[work].value. The error joins a
// *[RuleError] for each wrong rule.
func Compile(rules []string, attributes []pdk.Attribute) (*Mapping, error) {
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
		program, reads, err := compile(right, "user")
		if err != nil {
			bad("%s: %v", path, err)
			continue
		}
		m.rules = append(m.rules, rule{path, program, reads})
	}
	return m, errors.Join(errs...)
}

// cut parts a rule at its first = that is not part of ==, !=, <= or >=.
func cut(text string) (left, right string, ok bool) {
	for i := 0; i < len(text); i++ {
		if text[i] != '=' || i+1 < len(text) && text[i+1] == '=' || i > 0 && strings.IndexByte("=!<>", text[i-1]) >= 0 {
			continue
		}
		left, right = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
		return left, right, left != "" && right != ""
	}
	return "", "", false
}

// keyed writes emails.work as emails[work].value where emails is a list of
// complex values.
func keyed(path string, attributes []pdk.Attribute) string {
	name, key, has := strings.Cut(path, ".")
	if !has {
		return path
	}
	for _, a := range attributes {
		if a.Name != name || !a.MultiValued || a.Type != "complex" {
			continue
		}
		kind, rest, sub := strings.Cut(key, ".")
		if !sub {
			rest = "value"
		}
		return name + "[" + kind + "]." + rest
	}
	return path
}

// Apply makes the attributes of a user. A rule that ends in nothing ("" or
// nil) makes no attribute.
func (m *Mapping) Apply(u *host.User) (map[string]any, error) {
	env := map[string]any{"user": userEnv(u)}
	out := map[string]any{}
	for _, r := range m.rules {
		v, err := expr.Run(r.program, env)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "mapping of %s for %s: %s", r.path, u.Username, oneLine(err))
		}
		if v == nil || v == "" {
			continue
		}
		pdk.SetPath(out, r.path, v)
	}
	return out, nil
}

// Paths are the paths that are mapped, in the order of the rules.
func (m *Mapping) Paths() []string {
	paths := make([]string, len(m.rules))
	for i, r := range m.rules {
		paths[i] = r.path
	}
	return paths
}

// Changed returns the mapped paths whose value differs between two users'
// attributes. Paths that only say whether the user is active are left out: to
// activate and to deactivate are operations of their own.
func (m *Mapping) Changed(before, after map[string]any) []string {
	var changed []string
	for _, r := range m.rules {
		if r.onlyStatus() {
			continue
		}
		b, _ := pdk.GetPath(before, r.path)
		a, _ := pdk.GetPath(after, r.path)
		if !same(b, a) {
			changed = append(changed, r.path)
		}
	}
	return changed
}

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
		if !there && partial || same(w, h) {
			continue
		}
		drift = append(drift, host.Difference{Path: r.path, Want: w, Have: h})
	}
	return drift
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
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// Scope is an expression over the user that says who is in.
type Scope struct{ program *vm.Program }

// CompileScope compiles an expression that must be true or false.
func CompileScope(text string) (*Scope, error) {
	program, _, err := compile(text, "user", expr.AsBool())
	if err != nil {
		return nil, err
	}
	return &Scope{program}, nil
}

// Holds tells whether the user is in.
func (s *Scope) Holds(u *host.User) (bool, error) {
	v, err := expr.Run(s.program, map[string]any{"user": userEnv(u)})
	if err != nil {
		return false, host.Errorf(host.InvalidInput, "scope for %s: %s", u.Username, oneLine(err))
	}
	return v.(bool), nil
}

// Links are rules that find the user of an account:
// "account.ExternalUsername = user.Username".
type Links struct{ rules []link }

type link struct {
	text          string
	account, user *vm.Program
}

// CompileLinks compiles link rules. The error joins a *[RuleError] for each
// wrong one.
func CompileLinks(rules []string) (*Links, error) {
	l := &Links{}
	var errs []error
	for i, text := range rules {
		left, right, ok := cut(text)
		if !ok {
			errs = append(errs, &RuleError{i, text, "is not of the form account expression = user expression"})
			continue
		}
		if strings.Contains(left, "user.") && strings.Contains(right, "account.") {
			left, right = right, left
		}
		account, _, err := compile(left, "account")
		if err != nil {
			errs = append(errs, &RuleError{i, text, err.Error()})
			continue
		}
		user, _, err := compile(right, "user")
		if err != nil {
			errs = append(errs, &RuleError{i, text, err.Error()})
			continue
		}
		l.rules = append(l.rules, link{text, account, user})
	}
	return l, errors.Join(errs...)
}

// Len is the number of rules.
func (l *Links) Len() int { return len(l.rules) }

// Rule is the text of rule i.
func (l *Links) Rule(i int) string { return l.rules[i].text }

// UserKey is what rule i makes of a user; "" for nothing.
func (l *Links) UserKey(i int, u *host.User) (string, error) {
	return key(l.rules[i].user, map[string]any{"user": userEnv(u)})
}

// AccountKey is what rule i makes of an account; "" for nothing.
func (l *Links) AccountKey(i int, a *host.UserProvAccountStaging) (string, error) {
	return key(l.rules[i].account, map[string]any{"account": map[string]any{
		"ExternalUserId": a.ExternalUserId, "ExternalUsername": a.ExternalUsername, "ExternalFirstName": a.ExternalFirstName,
		"ExternalLastName": a.ExternalLastName, "ExternalEmail": a.ExternalEmail, "Status": a.Status, "attributes": a.Attributes,
	}})
}

func key(p *vm.Program, env map[string]any) (string, error) {
	v, err := expr.Run(p, env)
	if err != nil {
		return "", host.Errorf(host.InvalidInput, "link rule: %s", oneLine(err))
	}
	if v == nil {
		return "", nil
	}
	return fmt.Sprint(v), nil
}

// userEnv is a user as expressions see it: the model's fields, with the
// organisation's own beside them.
func userEnv(u *host.User) map[string]any {
	env := make(map[string]any, len(userFields)+len(u.Custom))
	for k, v := range u.Custom {
		env[k] = v
	}
	v := reflect.ValueOf(u.User)
	for _, f := range userFields {
		env[f] = v.FieldByName(f).Interface()
	}
	return env
}

var userFields = fieldNames(reflect.TypeFor[pdk.User](), "Custom")

var accountFields = []string{"ExternalUserId", "ExternalUsername", "ExternalFirstName", "ExternalLastName", "ExternalEmail", "Status", "attributes"}

func fieldNames(t reflect.Type, without string) []string {
	var names []string
	for i := range t.NumField() {
		if name := t.Field(i).Name; name != without {
			names = append(names, name)
		}
	}
	return names
}

// compile compiles an expression over one record, and names the fields that
// it reads.
func compile(text, record string, more ...expr.Option) (*vm.Program, []string, error) {
	used := &fields{record: record}
	options := append([]expr.Option{
		expr.Env(map[string]any{record: map[string]any{}}),
		expr.Function("substring", substring, new(func(string, int, int) string)),
		expr.Function("ascii", ascii, new(func(string) string)),
		expr.Patch(used),
	}, more...)
	program, err := expr.Compile(text, options...)
	if err != nil {
		return nil, nil, errors.New(suggest(oneLine(err), record))
	}
	known := userFields
	if record == "account" {
		known = accountFields
	}
	for _, name := range used.names {
		if slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			return nil, nil, fmt.Errorf("unknown field %s.%s; did you mean %s.%s?", record, name, record, near)
		}
		if record == "account" {
			return nil, nil, fmt.Errorf("unknown field account.%s; there is %s", name, strings.Join(accountFields, ", "))
		}
	}
	slices.Sort(used.names)
	return program, slices.Compact(used.names), nil
}

// fields collects record.Name while an expression is compiled.
type fields struct {
	record string
	names  []string
}

func (f *fields) Visit(node *ast.Node) {
	m, ok := (*node).(*ast.MemberNode)
	if !ok {
		return
	}
	if id, ok := m.Node.(*ast.IdentifierNode); ok && id.Value == f.record {
		if name, ok := m.Property.(*ast.StringNode); ok {
			f.names = append(f.names, name.Value)
		}
	}
}

func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

var functions = []string{"lower", "upper", "trim", "replace", "split", "join", "first", "last", "substring", "ascii", "len", "string", "int", "hasPrefix", "hasSuffix", "indexOf"}

// suggest adds what was probably meant to a compiler's message.
func suggest(message, record string) string {
	_, rest, ok := strings.Cut(message, "unknown name ")
	if !ok {
		return message
	}
	name, _, _ := strings.Cut(rest, " ")
	if near := nearest(name, append([]string{record}, functions...)); near != "" {
		return fmt.Sprintf("unknown name %q; did you mean %q?", name, near)
	}
	return fmt.Sprintf("unknown name %q; write %s.Field or \"text\"", name, record)
}

// nearest finds the word that is at most two letters away.
func nearest(word string, words []string) string {
	best, at := "", 3
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w)); d < at && d < len(w)/2+1 {
			best, at = w, d
		}
	}
	return best
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func substring(args ...any) (any, error) {
	s := []rune(args[0].(string))
	from, to := args[1].(int), args[2].(int)
	from = min(max(0, from), len(s))
	return string(s[from:min(max(from, to), len(s))]), nil
}

// ascii writes a name in ASCII: Jürgen O’Brien -> Juergen O'Brien. What has no
// ASCII form is dropped.
func ascii(args ...any) (any, error) { return transliterate(args[0].(string)), nil }
