package mapping

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/provosthq/provost/pdk"
)

// Modifiers say when a rule counts. They stand behind the expression:
// "userName = lower(user.Username) [on create]".
type Modifiers struct {
	// OnCreate: the value is for a new account only. What becomes of it later is
	// the target's.
	OnCreate bool
	// EmptyLeaves: where the expression ends in nothing, what the target has
	// stays; else it is taken away.
	EmptyLeaves bool
}

var modifierWords = []string{"on create", "always", "empty removes", "empty leaves"}

// modifiers cuts the modifiers off an expression. [0] and [user.Title] are
// parts of expressions, and what is near to a modifier never is.
func modifiers(text string) (expression string, m Modifiers, err error) {
	open := strings.LastIndexByte(text, '[')
	if open < 1 || !strings.HasSuffix(text, "]") || !unicode.IsSpace(rune(text[open-1])) {
		return text, m, nil
	}
	inside := text[open+1 : len(text)-1]
	words := strings.Split(inside, ",")
	are := false
	for i, w := range words {
		words[i] = strings.Join(strings.Fields(w), " ")
		if strings.IndexFunc(w, func(r rune) bool { return !unicode.IsLetter(r) && r != ' ' }) >= 0 {
			return text, m, nil
		}
		are = are || nearest(words[i], modifierWords) != ""
	}
	expression = strings.TrimSpace(text[:open])
	if !are || expression == "" {
		return text, m, nil
	}
	seen := map[string]bool{}
	for _, w := range words {
		switch w {
		case "on create":
			m.OnCreate = true
		case "empty leaves":
			m.EmptyLeaves = true
		case "always", "empty removes":
		default:
			if near := nearest(w, modifierWords); near != "" {
				return "", m, fmt.Errorf("[%s] is no modifier; did you mean [%s]?", w, near)
			}
			return "", m, fmt.Errorf("[%s] is no modifier; there is [%s]", w, strings.Join(modifierWords, "], ["))
		}
		seen[w] = true
	}
	if seen["on create"] && seen["always"] || seen["empty removes"] && seen["empty leaves"] {
		return "", m, fmt.Errorf("[%s] contradicts itself", inside)
	}
	return expression, m, nil
}

// clone copies attributes, so that a copy can be changed.
func clone(v any) any {
	switch x := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(x))
		for k, e := range x {
			c[k] = clone(e)
		}
		return c
	case []any:
		c := make([]any, len(x))
		for i, e := range x {
			c[i] = clone(e)
		}
		return c
	default:
		return v
	}
}

// remove takes the value of a path that [pdk.SetPath] put away again.
func remove(attributes map[string]any, path string) {
	parent, name := "", path
	if strings.HasSuffix(path, "]") { // the value of an element of a list
		parent, name = path, "value"
	} else if i := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, ':')); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	object := any(attributes)
	if at, whole := attributes[parent]; whole { // also the name of an extension, which is no path
		object = at
	} else if parent != "" {
		object, _ = pdk.GetPath(attributes, parent)
	}
	if m, ok := object.(map[string]any); ok {
		delete(m, name)
	}
}

// Replace puts rules in the places of those for the same attributes; the
// others come after them.
func Replace(rules, with []string, attributes []pdk.Attribute) []string {
	path := func(rule string) string {
		left, _, _ := cut(rule)
		return keyed(left, attributes)
	}
	all := slices.Clone(rules)
	for _, one := range with {
		if i := slices.IndexFunc(all, func(r string) bool { return path(one) != "" && path(r) == path(one) }); i >= 0 {
			all[i] = one
		} else {
			all = append(all, one)
		}
	}
	return all
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
