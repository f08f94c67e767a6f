package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Inbound makes fields of a user from an account, by rules such as "Title =
// account.attributes.title": what a person accepts of a target.
type Inbound struct{ rules []rule }

// inboundFields are the fields of the model that may be made: those that say
// who somebody is and what is granted are not a target's to say.
var inboundFields = slices.DeleteFunc(slices.Clone(userFields), func(name string) bool {
	f, _ := reflect.TypeFor[pdk.User]().FieldByName(name)
	return f.Type.Kind() != reflect.String || slices.Contains([]string{"Id", "Username", "Profile"}, name)
})

// CompileInbound compiles rules. own are the organisation's own attributes.
// The error joins a *[RuleError] for each wrong rule.
func (t Tables) CompileInbound(rules, own []string) (*Inbound, error) {
	in := &Inbound{}
	var errs []error
	seen := map[string]bool{}
	known := append(slices.Clone(inboundFields), own...)
	for i, text := range rules {
		bad := func(format string, args ...any) {
			errs = append(errs, &RuleError{i, text, fmt.Sprintf(format, args...)})
		}
		field, right, ok := cut(text)
		switch {
		case !ok:
			bad("is not of the form Field = expression over account")
			continue
		case !slices.Contains(known, field):
			if near := nearest(field, known); near != "" {
				bad("there is no field %q; did you mean %s?", field, near)
			} else {
				bad("there is no field %q that a target may give; there is %s", field, strings.Join(known, ", "))
			}
			continue
		case seen[field]:
			bad("%s is given twice", field)
			continue
		}
		seen[field] = true
		r := rule{path: field}
		var err error
		if r.expression, r.Modifiers, err = modifiers(right); err == nil && r.OnCreate {
			err = errors.New("[on create] is for what is sent; leave it out")
		}
		if err == nil {
			r.program, _, err = t.compile(r.expression, "account")
		}
		if err != nil {
			bad("%s: %v", field, err)
			continue
		}
		in.rules = append(in.rules, r)
	}
	return in, errors.Join(errs...)
}

// Len is the number of rules.
func (in *Inbound) Len() int { return len(in.rules) }

// Fields are what the rules make of an account, by the names of the user's
// fields: those of the model as text. Nothing is "" there and nil in the
// organisation's own, unless the rule says [empty leaves].
func (in *Inbound) Fields(a *host.UserProvAccount) (map[string]any, error) {
	env := accountEnv(a.ExternalUserId, a.ExternalUsername, a.ExternalFirstName, a.ExternalLastName, a.ExternalEmail, a.Status, a.Attributes)
	out := map[string]any{}
	for _, r := range in.rules {
		v, err := r.value(env)
		if err == nil && slices.Contains(inboundFields, r.path) {
			switch v.(type) {
			case map[string]any, []any:
				err = fmt.Errorf("ends in %s, not in text", kindOf(v))
			default:
				v = textOf(v)
			}
		}
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "import mapping of %s for account %s of %s: %s", r.path, a.ExternalUsername, a.AppName, oneLine(err))
		}
		if !r.leaves(v) {
			out[r.path] = v
		}
	}
	return out, nil
}

// Accept returns the user with the fields of an account.
func (in *Inbound) Accept(u *host.User, a *host.UserProvAccount) (*host.User, error) {
	fields, err := in.Fields(a)
	if err != nil {
		return nil, err
	}
	after := *u
	after.Custom = make(map[string]any, len(u.Custom))
	for k, v := range u.Custom {
		after.Custom[k] = v
	}
	model := reflect.ValueOf(&after.User).Elem()
	for name, v := range fields {
		switch {
		case slices.Contains(inboundFields, name):
			model.FieldByName(name).SetString(v.(string))
		case v == nil:
			delete(after.Custom, name)
		default:
			after.Custom[name] = v
		}
	}
	return &after, nil
}
