package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host/api"
)

// How a step's values stand in its form, and are read from it. They have the
// keys of an app in the configuration; what is left empty is not there.

// readStep reads the values of a step; before is what the app has now, of which
// stays what the form does not show.
func readStep(step string, form url.Values, before map[string]any) map[string]any {
	v := formValues{form, map[string]any{}}
	switch step {
	case api.StepApp:
		v.text("label", "scope")
		v.names("profiles", "permission_sets")
		if !form.Has("enabled") {
			v.values["enabled"] = false
		}
	case api.StepConnector:
		v.text("plugin")
	case api.StepCredential:
		v.text("credential")
	case api.StepOperations:
		v.choices("operations")
		v.text("on_unassign", "on_disable", "on_delete", "delete_after")
		v.lines("fallback")
	case api.StepAttributes:
		v.rules()
		if form.Get("counts") == "these" {
			v.choices("on_update_attributes")
		}
		v.parameters()
	case api.StepApproval:
		v.text("approval", "approval_group", "approval_rule", "approval_expires")
		v.choices("approval_operations")
	case api.StepLinking:
		v.lines("link")
		v.text("recon_filter")
		if kept, ok := before["import_mapping"]; ok {
			v.values["import_mapping"] = kept
		}
		v.reconcile(before)
	}
	return v.values
}

type formValues struct {
	form   url.Values
	values map[string]any
}

func (v formValues) text(keys ...string) {
	for _, key := range keys {
		if text := strings.TrimSpace(v.form.Get(key)); text != "" {
			v.values[key] = text
		}
	}
}

func (v formValues) lines(keys ...string) {
	for _, key := range keys {
		if list := linesOf(v.form.Get(key)); len(list) > 0 {
			v.values[key] = anys(list)
		}
	}
}

// names are those of boxes that are ticked, and of the lines of a text, each once.
func (v formValues) names(keys ...string) {
	for _, key := range keys {
		var list []string
		for _, name := range linesOf(strings.Join(v.form[key], "\n")) {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
		if len(list) > 0 {
			v.values[key] = anys(list)
		}
	}
}

// choices are boxes of one name: also none of them is an answer.
func (v formValues) choices(keys ...string) {
	for _, key := range keys {
		list := slices.DeleteFunc(slices.Clone(v.form[key]), func(s string) bool { return s == "" })
		if len(list) > 0 || v.form.Has(key) {
			v.values[key] = anys(list)
		}
	}
}

// rules are pairs of inputs, a row each.
func (v formValues) rules() {
	paths, expressions := v.form["path"], v.form["expression"]
	list := []any{}
	for i := range paths {
		path, expression := strings.TrimSpace(paths[i]), ""
		if i < len(expressions) {
			expression = strings.Join(strings.Fields(expressions[i]), " ")
		}
		if path != "" || expression != "" {
			list = append(list, strings.TrimSpace(path+" = "+expression))
		}
	}
	if len(list) > 0 {
		v.values["mapping"] = list
	}
}

// parameters are the connector's inputs: parameter.NAME, with parameter-type.NAME.
func (v formValues) parameters() {
	out := map[string]any{}
	for name, list := range v.form {
		key, is := strings.CutPrefix(name, "parameter.")
		if text := strings.TrimSpace(list[0]); is && text != "" {
			out[key] = parameter(v.form.Get("parameter-type."+key), text)
		}
	}
	if len(out) > 0 {
		v.values["parameters"] = out
	}
}

// parameter is a text as the type wants it; what can't be is left to the check.
func parameter(typ, text string) any {
	switch typ {
	case "number":
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	case "boolean":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	case "json":
		if value, problem := readInput(schemaField{Kind: kindJSON}, text); problem == "" {
			return value
		}
	}
	return text
}

// reconcile is an object of its own, of which the form shows the most.
func (v formValues) reconcile(before map[string]any) {
	out := clone(object(before, "reconcile"))
	inner := formValues{v.form, map[string]any{}}
	for _, key := range []string{"schedule", "missing", "drift", "orphaned", "unassigned"} {
		delete(out, key)
		if text := strings.TrimSpace(v.form.Get("reconcile." + key)); text != "" {
			out[key] = text
		}
	}
	for _, key := range []string{"delta", "commit", "process"} {
		delete(out, key)
		if v.form.Has("reconcile." + key) {
			out[key] = true
		}
	}
	thresholds := clone(object(out, "thresholds"))
	for _, key := range []string{"deactivate", "delete", "found"} {
		delete(thresholds, key)
		if text := strings.TrimSpace(v.form.Get("threshold." + key)); text != "" {
			thresholds[key] = text
		}
	}
	delete(out, "thresholds")
	if len(thresholds) > 0 {
		out["thresholds"] = thresholds
	}
	if len(out) > 0 {
		inner.values["reconcile"] = out
		v.values["reconcile"] = out
	}
}

// editRows adds a row to the rules, or takes one away, or puts suggestions in.
func editRows(values map[string]any, edit, rest string) map[string]any {
	list := texts(values, "mapping")
	switch edit {
	case "more":
		list = append(list, " = ")
	case "without":
		if i, err := strconv.Atoi(rest); err == nil && i >= 0 && i < len(list) {
			list = slices.Delete(list, i, i+1)
		}
	case "take":
		list = append(list, rest)
	}
	out := clone(values)
	out["mapping"] = anys(list)
	return out
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func clone(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// text is a value of an app, or what it is where it is not there.
func text(values map[string]any, key, otherwise string) string {
	switch v := values[key].(type) {
	case nil:
		return otherwise
	case string:
		return v
	default:
		return asText(v)
	}
}

// texts is a list of texts.
func texts(values map[string]any, key string) (list []string) {
	switch v := values[key].(type) {
	case []any:
		for _, one := range v {
			list = append(list, asText(one))
		}
	case []string:
		list = v
	}
	return list
}

// has tells whether a list has a word; otherwise is the list where there is none.
func has(values map[string]any, key, word string, otherwise ...string) bool {
	if _, given := values[key]; !given {
		return slices.Contains(otherwise, word)
	}
	return slices.Contains(texts(values, key), word)
}

func object(values map[string]any, key string) map[string]any {
	m, _ := values[key].(map[string]any)
	return m
}

func truth(values map[string]any, key string, otherwise bool) bool {
	b, is := values[key].(bool)
	if !is {
		return otherwise
	}
	return b
}

// wrong is what is wrong with a value or with what is in it.
func (v wizardView) wrong(key string) string {
	var list []string
	for _, s := range v.Steps {
		for _, p := range s.Problems {
			if rest, is := strings.CutPrefix(p.Field, key); is && (rest == "" || rest[0] == '[' || rest[0] == '.') {
				list = append(list, p.Message)
			}
		}
	}
	return strings.Join(list, "; ")
}

// wrongAt is what is wrong with one of a list.
func (v wizardView) wrongAt(key string, i int) string {
	return v.wrong(key + "[" + strconv.Itoa(i) + "]")
}
