package pdk

import "strings"

// A path names a value inside an account's attributes:
//
//	userName                                   a value
//	name.givenName                             inside an object
//	emails[work].value                         inside the element of a list whose "type" is work
//	urn:ietf:…:enterprise:2.0:User:department  inside an extension: all up to the last colon is one name

type step struct{ name, element string }

func parsePath(path string) ([]step, bool) {
	var steps []step
	rest := path
	if strings.HasPrefix(strings.ToLower(path), "urn:") {
		i := strings.LastIndexByte(path, ':')
		if i <= len("urn:") || i == len(path)-1 {
			return nil, false
		}
		steps, rest = append(steps, step{name: path[:i]}), path[i+1:]
	}
	for part := range strings.SplitSeq(rest, ".") {
		name, element, has := strings.Cut(part, "[")
		if has {
			if !strings.HasSuffix(element, "]") {
				return nil, false
			}
			element = strings.TrimSuffix(element, "]")
		}
		if name == "" || has && element == "" || strings.ContainsAny(name+element, "[] \t\"") {
			return nil, false
		}
		steps = append(steps, step{name, element})
	}
	return steps, true
}

// ValidPath tells whether path is of a form that [GetPath] and [SetPath] know.
func ValidPath(path string) bool {
	_, ok := parsePath(path)
	return ok
}

// GetPath returns the value at path; ok is false where there is none.
func GetPath(attributes map[string]any, path string) (value any, ok bool) {
	steps, valid := parsePath(path)
	if !valid {
		return nil, false
	}
	var at any = attributes
	for _, s := range steps {
		object, is := at.(map[string]any)
		if !is {
			return nil, false
		}
		if at, ok = member(object, s.name); !ok {
			return nil, false
		}
		if s.element != "" {
			if at, ok = elementOfType(at, s.element); !ok {
				return nil, false
			}
		}
	}
	return at, true
}

// member finds a name as it is written or, since attribute names of SCIM have
// no case, in another case.
func member(object map[string]any, name string) (any, bool) {
	if v, ok := object[name]; ok {
		return v, true
	}
	for k, v := range object {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

func elementOfType(list any, kind string) (any, bool) {
	elements, is := list.([]any)
	if !is {
		return nil, false
	}
	for _, e := range elements {
		if object, is := e.(map[string]any); is {
			if t, is := object["type"].(string); is && strings.EqualFold(t, kind) {
				return object, true
			}
		}
	}
	return nil, false
}

// SetPath puts value at path and makes what lies between. It does nothing
// where path is of no known form or leads through something that is no object.
func SetPath(attributes map[string]any, path string, value any) {
	steps, valid := parsePath(path)
	if !valid {
		return
	}
	object := attributes
	for i, s := range steps {
		last := i == len(steps)-1
		if s.element == "" {
			if last {
				object[s.name] = value
				return
			}
			next, is := object[s.name].(map[string]any)
			if !is {
				next = map[string]any{}
				object[s.name] = next
			}
			object = next
			continue
		}
		element, ok := elementOfType(object[s.name], s.element)
		next, _ := element.(map[string]any)
		if !ok {
			next = map[string]any{"type": s.element}
			list, _ := object[s.name].([]any)
			object[s.name] = append(list, next)
		}
		if last {
			next["value"] = value
			return
		}
		object = next
	}
}
