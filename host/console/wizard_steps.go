package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

func stepClass(v wizardView, name string) string {
	s := v.Step(name)
	switch {
	case name == v.At:
		return "now"
	case s != nil && len(s.Problems) > 0:
		return "amiss"
	case s != nil && s.Done:
		return "done"
	default:
		return ""
	}
}

// textLines is a list as a text of lines.
func textLines(values map[string]any, key string) string {
	return strings.Join(texts(values, key), "\n")
}

// shownChange is a value as it is told of a change.
func shownChange(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case []any:
		words := make([]string, len(x))
		for i, one := range x {
			words[i] = asText(one)
		}
		if len(words) == 0 {
			return "none"
		}
		return strings.Join(words, ", ")
	default:
		return asText(v)
	}
}

var consequences = []Option{{"nothing", "Nothing is done"}, {"deactivate", "Deactivate the account"}, {"freeze", "Freeze the account"}, {"delete", "Delete the account"}}

var approvals = []Option{{"none", "Nobody needs to approve"}, {"manager", "The person's manager approves"}, {"group", "A group approves"}, {"expression", "An expression says who approves"}}

var approvable = []host.Operation{host.Create, host.Update, host.Deactivate, host.Activate, host.Freeze, host.Unfreeze, host.Reactivate, host.Delete}

// operationChoice is one of what may be switched on.
type operationChoice struct {
	Option
	Hint string
	On   bool
	// Lacks says that the connector can't, "" where it can.
	Lacks string
}

func (c *console) operationsStep(r *http.Request, v wizardView) (templ.Component, error) {
	said, err := c.describe(r, text(v.Values, "plugin", ""))
	if err != nil {
		return nil, err
	}
	choices := []operationChoice{
		{Option: Option{"Create", "Create accounts"}, Hint: "Whoever is to have an account and has none gets one."},
		{Option: Option{"Update", "Update accounts"}, Hint: "When a value that counts changes."},
		{Option: Option{"EnableAndDisable", "Deactivate and activate"}, Hint: "An account that is not active is kept, and nobody can use it."},
		{Option: Option{"SuspendAndRestore", "Freeze and unfreeze"}, Hint: "For a while, as when a login is frozen."},
		{Option: Option{"Delete", "Delete accounts"}, Hint: "It can't be had back."},
	}
	needs := map[string][]pdk.Operation{"Create": {pdk.OpCreate}, "Update": {pdk.OpUpdate}, "EnableAndDisable": {pdk.OpDeactivate, pdk.OpActivate},
		"SuspendAndRestore": {pdk.OpFreeze, pdk.OpUnfreeze}, "Delete": {pdk.OpDelete}}
	for i := range choices {
		o := &choices[i]
		o.On = has(v.Values, "operations", o.Value, "Create", "Update", "EnableAndDisable")
		if said != nil && slices.ContainsFunc(needs[o.Value], func(op pdk.Operation) bool { return !slices.Contains(said.Operations, op) }) {
			o.Lacks = "The connector " + said.Name + " can't do it."
		}
	}
	return wizardOperations(v, choices), nil
}

// describe is what a connector says of itself, nil where it can't be had now.
func (c *console) describe(r *http.Request, connector string) (*pdk.Description, error) {
	if connector == "" {
		return nil, nil
	}
	said, err := c.Service.Description(r.Context(), connector)
	switch host.CodeOf(err) {
	case host.NotFound, host.Unavailable:
		return nil, nil
	}
	return said, err
}
