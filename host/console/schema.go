package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A connector says of its settings, in a JSON Schema, what they are. The form is
// made of that: text, numbers, choices, truth values, lists of texts, and
// objects of these, one level deep. What is of no such kind is written as JSON.

// kind is what kind of input a value has.
type kind string

const (
	kindText    kind = "text"
	kindSecret  kind = "secret"
	kindNumber  kind = "number"
	kindInteger kind = "integer"
	kindTruth   kind = "truth"
	kindChoice  kind = "choice"
	kindList    kind = "list"
	kindObject  kind = "object"
	kindJSON    kind = "json"
)

// schemaField is an input for a value that a schema describes.
type schemaField struct {
	Field
	Kind kind
	// Fields are those of an object.
	Fields []schemaField
	// choices are the values of a choice, as JSON.
	choices []any
	key     string
}

// property is what is read of a schema.
type property struct {
	Type        any                        `json:"type"`
	Title       string                     `json:"title"`
	Description string                     `json:"description"`
	Default     any                        `json:"default"`
	Const       any                        `json:"const"`
	Enum        []any                      `json:"enum"`
	Format      string                     `json:"format"`
	WriteOnly   bool                       `json:"writeOnly"`
	Required    []string                   `json:"required"`
	Properties  map[string]json.RawMessage `json:"properties"`
	Items       json.RawMessage            `json:"items"`
}

func readProperty(raw any) (p property) {
	text, ok := raw.(json.RawMessage)
	if !ok {
		var err error
		if text, err = json.Marshal(raw); err != nil {
			return p
		}
	}
	_ = json.Unmarshal(text, &p) // a schema may be true, or of a kind that we do not know: it is written as JSON
	return p
}

func (p property) kind() kind {
	name, _ := p.Type.(string)
	if list, is := p.Type.([]any); is { // ["string", "null"]
		for _, one := range list {
			if one != "null" && name == "" {
				name, _ = one.(string)
			}
		}
	}
	switch {
	case len(p.Enum) > 0:
		return kindChoice
	case name == "string" && (p.WriteOnly || p.Format == "password"):
		return kindSecret
	case name == "string":
		return kindText
	case name == "integer":
		return kindInteger
	case name == "number":
		return kindNumber
	case name == "boolean":
		return kindTruth
	case name == "object" && len(p.Properties) > 0:
		return kindObject
	case name == "array" && readProperty(p.Items).kind() == kindText:
		return kindList
	default:
		return kindJSON
	}
}

// secret tells whether it is one, or has one within.
func (p property) secret() bool {
	if p.WriteOnly || p.Format == "password" || p.Items != nil && readProperty(p.Items).secret() {
		return true
	}
	for _, inner := range p.Properties {
		if readProperty(inner).secret() {
			return true
		}
	}
	return false
}

// schemaFields makes the inputs of a schema with the values that there are. The
// names of the inputs begin with prefix and a dot.
func schemaFields(schema any, values map[string]any, prefix string) []schemaField {
	return fieldsOf(readProperty(schema), values, prefix, 0)
}

func fieldsOf(p property, values map[string]any, prefix string, depth int) []schemaField {
	var list []schemaField
	for _, key := range slices.Sorted(maps.Keys(p.Properties)) {
		list = append(list, fieldOf(key, readProperty(p.Properties[key]), slices.Contains(p.Required, key), values[key], prefix, depth))
	}
	slices.SortStableFunc(list, func(a, b schemaField) int { // what must be given comes first
		switch {
		case a.Required == b.Required:
			return 0
		case a.Required:
			return -1
		default:
			return 1
		}
	})
	return list
}

func fieldOf(key string, p property, required bool, value any, prefix string, depth int) schemaField {
	f := schemaField{Kind: p.kind(), key: key}
	if f.Kind == kindObject && depth > 0 {
		f.Kind = kindJSON
	}
	f.Name, f.Label, f.Hint, f.Required = prefix+"."+key, p.Title, p.Description, required
	if f.Label == "" {
		f.Label = key
	}
	if p.Default != nil && f.Kind != kindObject {
		f.Hint = strings.TrimSpace(f.Hint + " Without it: " + asText(p.Default) + ".")
	}
	switch f.Kind {
	case kindChoice, kindTruth:
		f.choices = p.Enum
		if f.Kind == kindTruth {
			f.choices = []any{true, false}
		}
		f.Options = options(f, value)
	case kindObject:
		inner, _ := value.(map[string]any)
		f.Fields = fieldsOf(p, inner, f.Name, depth+1)
		return f
	case kindSecret:
		f.Type = "password"
		if value != nil {
			f.Required = false
			f.Hint = strings.TrimSpace(f.Hint + " It is stored; leave this empty to keep it.")
		}
		return f
	case kindInteger, kindNumber:
		f.Type = "number"
	case kindList:
		f.Secret = p.secret()
		f.Lines, f.Hint = 3, strings.TrimSpace(f.Hint+" One a line.")
	case kindJSON:
		f.Secret = p.secret()
		f.Lines, f.Hint = 3, strings.TrimSpace(f.Hint+" Written as JSON.")
	}
	if value != nil {
		f.Value = asInput(f.Kind, value)
	}
	return f
}

// options are those of a choice; one that need not be made begins with none.
func options(f schemaField, value any) []Option {
	var list []Option
	if !f.Required || value == nil {
		list = append(list, Option{"", "As the connector has it"})
		if f.Required {
			list[0].Label = "Choose one"
		}
	}
	for _, c := range f.choices {
		label := asText(c)
		if f.Kind == kindTruth {
			label = map[string]string{"true": "Yes", "false": "No"}[label]
		}
		list = append(list, Option{asText(c), label})
	}
	return list
}

// asText is a value as a person reads it.
func asText(v any) string {
	if of := reflect.ValueOf(v); of.Kind() == reflect.String { // a named type, too
		return of.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// asInput is a value as its input has it.
func asInput(k kind, v any) string {
	if list, is := v.([]any); is && k == kindList {
		lines := make([]string, len(list))
		for i, one := range list {
			lines[i] = asText(one)
		}
		return strings.Join(lines, "\n")
	}
	if k == kindJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
	return asText(v)
}

// schemaValues reads the values of a form that [schemaFields] made. A secret
// that is left empty stays what it was before. problems say which inputs can't be
// read, by their name; whether the values are right is for the schema to say.
func schemaValues(fields []schemaField, form url.Values, before map[string]any) (values map[string]any, problems map[string]string) {
	values, problems = map[string]any{}, map[string]string{}
	for _, f := range fields {
		text := strings.TrimSpace(form.Get(f.Name))
		if f.Kind == kindObject {
			old, _ := before[f.key].(map[string]any)
			inner, wrong := schemaValues(f.Fields, form, old)
			maps.Copy(problems, wrong)
			if len(inner) > 0 {
				values[f.key] = inner
			}
			continue
		}
		if text == "" {
			if f.Kind == kindSecret && before[f.key] != nil {
				values[f.key] = before[f.key]
			}
			continue
		}
		value, problem := readInput(f, text)
		if problem != "" {
			problems[f.Name] = problem
			continue
		}
		values[f.key] = value
	}
	return values, problems
}

func readInput(f schemaField, text string) (value any, problem string) {
	switch f.Kind {
	case kindInteger:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is no whole number", text)
		}
		return n, ""
	case kindNumber:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is no number", text)
		}
		return n, ""
	case kindChoice, kindTruth:
		for _, c := range f.choices {
			if asText(c) == text {
				return c, ""
			}
		}
		return nil, fmt.Sprintf("%q is not among the choices", text)
	case kindList:
		var list []any
		for _, line := range linesOf(text) {
			list = append(list, line)
		}
		return list, ""
	case kindJSON:
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return nil, "is no JSON: " + err.Error()
		}
		return value, ""
	default:
		return text, ""
	}
}

// withProblems puts what is wrong beside the inputs, by their names, and what was
// given back into them.
func withProblems(fields []schemaField, problems map[string]string, form url.Values) []schemaField {
	list := slices.Clone(fields)
	for i := range list {
		f := &list[i]
		f.Problem = problems[f.Name]
		if form != nil && f.Kind != kindSecret && form.Has(f.Name) {
			f.Value = form.Get(f.Name)
		}
		f.Fields = withProblems(f.Fields, problems, form)
	}
	return list
}

// linesOf are the lines of a text that say something.
func linesOf(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}
