package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

// rules are the compiled rules of one app, as both engines use them.
type rules struct {
	*mapping.Mapping
	*mapping.Links
	scope    *mapping.Scope    // nil without one
	approval *mapping.Approval // nil without one
	inbound  *mapping.Inbound
	app      string
	profiles []string
	sets     []string
	// text is the mapping as it is written; needs and tables are what it is
	// compiled with.
	text   []string
	needs  []pdk.Attribute
	tables mapping.Tables
}

func (r *rules) InScope(u *host.User) (bool, error) {
	if r.scope == nil {
		return false, nil
	}
	return r.scope.Holds(u)
}

// Inbound are the fields of a user that an account makes.
func (r *rules) Inbound(a *host.UserProvAccount) (map[string]any, error) { return r.inbound.Fields(a) }

// Accept returns the user with what the account has in the target.
func (r *rules) Accept(u *host.User, a *host.UserProvAccount) (*host.User, error) {
	if r.inbound.Len() == 0 {
		return nil, host.Errorf(host.Unsupported, "%s has no rules that take the target's values for ours; write apps.%s.import_mapping", a.AppName, a.AppName)
	}
	return r.inbound.Accept(u, a)
}

// Granted tells whether the user should have an account.
func (r *rules) Granted(u *host.User) (bool, error) {
	if slices.Contains(u.Apps, r.app) || u.Profile != "" && slices.Contains(r.profiles, u.Profile) {
		return true, nil
	}
	if slices.ContainsFunc(u.PermissionSets, func(set string) bool { return slices.Contains(r.sets, set) }) {
		return true, nil
	}
	return r.InScope(u)
}

// compileRules compiles an app's rules. What the app does not say, the
// connector's description does.
func compileRules(app config.App, tables mapping.Tables, ownFields []string, d pdk.Description) (*rules, []config.Problem) {
	key := "apps." + app.Name + "."
	var problems []config.Problem
	collect := func(name string, own bool, err error) {
		for _, e := range unjoin(err) {
			var rule *mapping.RuleError
			switch {
			case errors.As(e, &rule) && own:
				problems = append(problems, config.Problem{Key: fmt.Sprintf("%s%s[%d]", key, name, rule.Index), Message: rule.Message})
			default:
				problems = append(problems, config.Problem{Key: key + name, Message: e.Error()})
			}
		}
	}
	text, own := app.Mapping, len(app.Mapping) > 0
	if !own {
		text = d.DefaultMapping
	}
	m, err := tables.Compile(text, d.Attributes)
	collect("mapping", own, err)
	if err == nil {
		for _, path := range m.Unmapped(d.Attributes) {
			problems = append(problems, config.Problem{Key: key + "mapping", Message: fmt.Sprintf("the connector needs %s, and nothing maps it", path)})
		}
	}
	linkText, ownLink := app.Link, len(app.Link) > 0
	if !ownLink {
		linkText = d.DefaultLink
	}
	l, err := tables.CompileLinks(linkText)
	collect("link", ownLink, err)
	in, err := tables.CompileInbound(app.ImportMapping, ownFields)
	collect("import_mapping", true, err)
	if app.Reconcile.Drift == "accept" && len(app.ImportMapping) == 0 {
		problems = append(problems, config.Problem{Key: key + "import_mapping", Message: "is missing; reconcile.drift is accept, and nothing says what is taken (Title = account.attributes.title)"})
	}
	r := &rules{Mapping: m, Links: l, inbound: in, app: app.Name, profiles: app.Profiles, sets: app.PermissionSets, text: text, needs: d.Attributes, tables: tables}
	if app.Scope != "" {
		if r.scope, err = tables.CompileScope(app.Scope); err != nil {
			problems = append(problems, config.Problem{Key: key + "scope", Message: err.Error()})
		}
	}
	if app.ApprovalRule != "" {
		if r.approval, err = mapping.CompileApproval(app.ApprovalRule); err != nil {
			problems = append(problems, config.Problem{Key: key + "approval_rule", Message: err.Error()})
		}
	}
	return r, problems
}

// tablesOf are the tables of a configuration as expressions look them up.
func tablesOf(cfg *config.Config) mapping.Tables {
	tables := mapping.Tables{}
	for _, t := range cfg.Tables {
		values := map[string]any{}
		for _, v := range t.Values {
			values[v.Key] = v.Value
		}
		tables[t.Name] = values
	}
	return tables
}

// checkApprovalGroups tells of groups that a rule names and that there are not.
func checkApprovalGroups(cfg *config.Config, app config.App, r *rules) (problems []config.Problem) {
	if r == nil || r.approval == nil {
		return nil
	}
	for _, name := range r.approval.Groups() {
		if !slices.ContainsFunc(cfg.Groups, func(g config.Group) bool { return g.Name == name }) {
			problems = append(problems, config.Problem{Key: "apps." + app.Name + ".approval_rule", Message: fmt.Sprintf("there is no group %q; add it to groups", name)})
		}
	}
	return problems
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range many.Unwrap() {
			all = append(all, unjoin(e)...)
		}
		return all
	}
	return []error{err}
}
