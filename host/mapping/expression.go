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

// accountEnv is an account as expressions see it.
func accountEnv(id, username, firstName, lastName, email, status string, attributes map[string]any) map[string]any {
	return map[string]any{"account": map[string]any{
		"ExternalUserId": id, "ExternalUsername": username, "ExternalFirstName": firstName, "ExternalLastName": lastName, "ExternalEmail": email,
		"Status": status, "attributes": attributes,
	}}
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
func (t Tables) compile(text, record string, more ...expr.Option) (*vm.Program, []string, error) {
	used, called, looping := &fields{record: record}, &calls{tables: t}, &loops{}
	options := append(append(library(t), looping.functions()...), expr.Env(map[string]any{record: map[string]any{}}), expr.Patch(used), expr.Patch(called), expr.Patch(operators{}), expr.Patch(looping))
	program, err := expr.Compile(text, append(options, more...)...)
	if err != nil {
		return nil, nil, errors.New(suggest(oneLine(err), record))
	}
	if called.err != nil {
		return nil, nil, called.err
	}
	if looping.err != nil {
		return nil, nil, looping.err
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
	if strings.Contains(line, "unexpected token EOF") {
		line += ": it ends too early; is a bracket or a quote not closed?"
	}
	return line
}

// suggest adds what was probably meant to a compiler's message.
func suggest(message, record string) string {
	_, rest, ok := strings.Cut(message, "unknown name ")
	if !ok {
		return message
	}
	name, _, _ := strings.Cut(rest, " ")
	if near := nearest(name, append(slices.Clone(functions), record)); near != "" {
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
