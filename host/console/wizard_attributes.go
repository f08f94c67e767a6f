package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/pdk"
)

// attributesView is what the step of the attributes shows.
type attributesView struct {
	wizardView
	Rules []ruleRow
	// Offered are rules that could be taken.
	Offered []api.WizardSuggestion
	// Suggested: the rules that are shown are offered, and nobody has taken them
	// yet.
	Suggested bool
	// Paths and Fields are what a rule can name.
	Paths, Fields []string
	api.WizardSuggestions
	// Inputs are those that the connector declares of its own.
	Inputs []Field
	Types  map[string]string
	// Try is what the rules make of a person.
	Try trial
}

// ruleRow is a rule in its two halves.
type ruleRow struct{ Path, Expression, Problem string }

// trial is what rules make of one person.
type trial struct {
	*api.Mapping
	Person  string // as it was looked for
	User    *host.User
	Others  []string
	Problem string
}

func (c *console) attributesStep(r *http.Request, v wizardView) (templ.Component, error) {
	view := attributesView{wizardView: v, Types: map[string]string{}}
	found, err := c.Service.SuggestWizard(r.Context(), v.App)
	switch {
	case host.CodeOf(err) == host.Conflict || host.CodeOf(err) == host.Unavailable: // no connector that serves: told at its step
		found = &api.WizardSuggestions{}
	case err != nil:
		return nil, err
	}
	view.WizardSuggestions = *found
	rules := texts(v.Values, "mapping")
	taken := map[string]bool{}
	for _, rule := range rules {
		taken[halves(rule).Path] = true
	}
	if s := v.Step(v.At); len(rules) == 0 && (s == nil || !s.Saved || v.ReadOnly()) { // an app without any has the connector's
		rules = firstRules(found.Rules)
		view.Suggested = len(rules) > 0
		for _, rule := range rules {
			taken[halves(rule).Path] = true
		}
	}
	for _, one := range found.Rules {
		if !taken[one.Path] && !taken[halves(one.Rule).Path] {
			view.Offered = append(view.Offered, one)
		}
	}
	for i, rule := range rules {
		row := halves(rule)
		if !view.Suggested {
			row.Problem = v.wrongAt("mapping", i)
		}
		view.Rules = append(view.Rules, row)
	}
	for _, a := range found.Attributes {
		view.Paths = append(view.Paths, paths(a)...)
	}
	view.Fields = found.UserFields
	said, err := c.describe(r, text(v.Values, "plugin", ""))
	if err != nil {
		return nil, err
	}
	if said != nil {
		view.Inputs = inputsOf(v, said, view.Types)
	}
	if view.Try, err = c.try(r, v.App, strings.TrimSpace(r.PostFormValue("person")), rules); err != nil {
		return nil, err
	}
	return wizardAttributes(view), nil
}

// firstRules are those of the suggestions that a new app begins with: the
// connector's own and what the app needs, or all where the connector has none.
func firstRules(list []api.WizardSuggestion) (rules []string) {
	own := slices.ContainsFunc(list, func(s api.WizardSuggestion) bool { return s.Default })
	for _, one := range list {
		if !own || one.Default || one.Required {
			rules = append(rules, one.Rule)
		}
	}
	return rules
}

// halves cuts a rule at its first =, which no path has.
func halves(rule string) ruleRow {
	path, expression, _ := strings.Cut(rule, "=")
	return ruleRow{Path: strings.TrimSpace(path), Expression: strings.TrimSpace(expression)}
}

// paths are what a rule can name of an attribute.
func paths(a pdk.Attribute) (list []string) {
	switch {
	case a.ReadOnly:
	case len(a.SubAttributes) == 0:
		list = append(list, a.Name)
	case a.MultiValued:
		list = append(list, a.Name+"[work].value")
	default:
		for _, sub := range a.SubAttributes {
			list = append(list, a.Name+"."+sub.Name)
		}
	}
	return list
}

// inputsOf are the inputs that a connector declares of its own.
func inputsOf(v wizardView, said *pdk.Description, types map[string]string) (list []Field) {
	given := object(v.Values, "parameters")
	for _, p := range said.Inputs {
		f := Field{Name: "parameter." + p.Name, Label: p.Label, Hint: p.Description, Required: p.Required, Value: text(given, p.Name, ""), Problem: v.wrong("parameters." + p.Name)}
		if f.Label == "" {
			f.Label = p.Name
		}
		switch p.Type {
		case "number", "date":
			f.Type = p.Type
		case "boolean":
			f.Options = []Option{{"", "As the connector has it"}, {"true", "Yes"}, {"false", "No"}}
		case "json":
			f.Lines = 3
		}
		types[p.Name] = p.Type
		list = append(list, f)
	}
	return list
}

// try makes the attributes of a person: of the one who is named, of the first who
// is found by it, or of anybody.
func (c *console) try(r *http.Request, app, person string, rules []string) (t trial, err error) {
	t.Person = person
	if person != "" {
		t.User, err = c.Service.User(r.Context(), person)
	}
	if t.User == nil && (err == nil || host.CodeOf(err) == host.NotFound) {
		list, err := c.Service.Users(r.Context(), api.UserFilter{Query: person, Paging: api.Paging{Limit: 6}})
		if err != nil {
			return t, err
		}
		for i, u := range list.Rows {
			if i == 0 {
				t.User = u
			} else {
				t.Others = append(t.Others, u.Username)
			}
		}
	}
	if t.User == nil && err != nil && host.CodeOf(err) != host.NotFound {
		return t, err
	}
	if t.User == nil {
		t.Problem = "Nobody is found by that."
		if person == "" {
			t.Problem = "There is nobody yet to try the rules on."
		}
		return t, nil
	}
	if rules == nil {
		rules = []string{}
	}
	t.Mapping, err = c.Service.TryWizard(r.Context(), app, api.WizardTrial{User: t.User.Id, Mapping: rules})
	if host.CodeOf(err) == host.Conflict {
		t.Problem, err = capital(message(err)), nil
	}
	return t, err
}

// attributesPreview answers with what the rules of the form make of a person.
func (c *console) attributesPreview(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	rules := texts(readStep(v.At, r.PostForm, v.Values), "mapping")
	t, err := c.try(r, v.App, strings.TrimSpace(r.PostForm.Get("person")), rules)
	if err != nil {
		return err
	}
	return c.part(w, r, mappingTrial(t))
}

// made is what a rule makes, as a person reads it.
func made(r api.MappingRule) string {
	switch {
	case r.Secret:
		return "(a new password)"
	case r.Value == nil:
		return ""
	default:
		return asText(r.Value)
	}
}

// when says when a rule counts, "" for always.
func when(r api.MappingRule) string {
	var notes []string
	if r.OnCreate {
		notes = append(notes, "on create")
	}
	if r.Unique {
		notes = append(notes, "or the next that is free")
	}
	if r.EmptyLeaves {
		notes = append(notes, "empty leaves")
	}
	return strings.Join(notes, ", ")
}

// counting are the fields whose change makes an update: all that are mapped where
// none is chosen.
func counting(v wizardView) bool {
	_, chosen := v.Values["on_update_attributes"]
	return chosen
}

// usedFields are the fields of a person that the rules read, first; then the
// others.
func usedFields(v attributesView) []string {
	var used, others []string
	for _, f := range v.Fields {
		if slices.ContainsFunc(v.Rules, func(r ruleRow) bool { return strings.Contains(r.Expression, "user."+f) }) {
			used = append(used, f)
		} else {
			others = append(others, f)
		}
	}
	return append(used, others...)
}

// wrongWhole is what is wrong with a list as a whole.
func (v wizardView) wrongWhole(key string) string {
	for _, s := range v.Steps {
		for _, p := range s.Problems {
			if p.Field == key {
				return p.Message
			}
		}
	}
	return ""
}

func invalid(problem string) string {
	if problem != "" {
		return "true"
	}
	return "false"
}
