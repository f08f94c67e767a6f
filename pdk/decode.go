package pdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// DecodeInput reads an input. As with every document of the contract, unknown
// fields are ignored; a wrong type or a missing field is an [InvalidInput]
// that names the JSON path.
func DecodeInput(b []byte) (Input, error) {
	return decode(b, "input", func(in Input) error {
		if in.Operation == "" {
			return missing("$.operation")
		}
		if in.Mode != "" && in.Mode != ModeFull && in.Mode != ModeDelta {
			return Errorf(InvalidInput, `$.mode: is %q, must be "full" or "delta"`, in.Mode)
		}
		return nil
	})
}

// DecodeOutput reads an output.
func DecodeOutput(b []byte) (Output, error) {
	return decode(b, "output", func(o Output) error {
		if o.Pending != nil && o.Pending.Token == "" {
			return missing("$.pending.token")
		}
		for i, a := range o.Accounts {
			if a.ExternalUserId == "" {
				return missing(fmt.Sprintf("$.accounts[%d].ExternalUserId", i))
			}
			switch a.Change {
			case "", ChangeCreated, ChangeChanged, ChangePresent, ChangeDeleted:
			default:
				return Errorf(InvalidInput, "$.accounts[%d].change: %q is none of created, changed, present, deleted", i, a.Change)
			}
		}
		return nil
	})
}

// DecodeDescription reads what describe returned.
func DecodeDescription(b []byte) (Description, error) {
	return decode(b, "description", func(d Description) error {
		switch {
		case d.Name == "":
			return missing("$.name")
		case d.Version == "":
			return missing("$.version")
		case d.ContractVersion == 0:
			return missing("$.contractVersion")
		case len(d.Operations) == 0:
			return missing("$.operations")
		}
		return nil
	})
}

// DecodeDiscovery reads what discover returned.
func DecodeDiscovery(b []byte) (Discovery, error) {
	return decode(b, "discovery", func(d Discovery) error {
		for i, c := range d.ObjectClasses {
			if c.Name == "" {
				return missing(fmt.Sprintf("$.objectClasses[%d].name", i))
			}
			for j, a := range c.Attributes {
				if a.Name == "" {
					return missing(fmt.Sprintf("$.objectClasses[%d].attributes[%d].name", i, j))
				}
			}
		}
		return nil
	})
}

// DecodeError reads a typed error. The document may stand inside a text, as
// where a language's PDK passes on an exception with its name and stack. What
// holds no error document becomes an [Internal] with the text as its message;
// so does a type that is unknown.
func DecodeError(b []byte) *Error {
	e, err := decode(b, "error", func(Error) error { return nil })
	if err != nil || e.Type == "" {
		if e, ok := errorInside(b); ok {
			return e
		}
		text := excerpt(b)
		if text == "" {
			text = "it failed and said nothing of why"
		}
		return &Error{Type: Internal, Message: text}
	}
	if !slices.Contains(ErrorTypes, e.Type) {
		e.Type, e.Message = Internal, string(e.Type)+": "+e.Message
	}
	e.RetryAfterSeconds = max(0, e.RetryAfterSeconds)
	return &e
}

// errorInside finds the error document that a text begins its first brace
// with.
func errorInside(b []byte) (*Error, bool) {
	i := bytes.IndexByte(b, '{')
	if i < 0 {
		return nil, false
	}
	var e Error
	if err := json.NewDecoder(bytes.NewReader(b[i:])).Decode(&e); err != nil || !slices.Contains(ErrorTypes, e.Type) {
		return nil, false
	}
	e.RetryAfterSeconds = max(0, e.RetryAfterSeconds)
	return &e, true
}

func missing(path string) error { return Errorf(InvalidInput, "%s: is missing", path) }

func decode[T any](b []byte, what string, check func(T) error) (T, error) {
	var v T
	if d, ok := any(&v).(interface{ readJSON(*scanner) bool }); ok {
		if p := (scanner{s: string(b)}); d.readJSON(&p) && p.end() {
			return v, check(v)
		}
		v = *new(T)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		var syntax *json.SyntaxError
		if len(bytes.TrimSpace(b)) == 0 {
			return v, Errorf(InvalidInput, "$: the %s is empty", what)
		}
		if errors.As(err, &syntax) {
			return v, Errorf(InvalidInput, "$: the %s is no JSON: %v at byte %d", what, err, syntax.Offset)
		}
		var generic any
		if json.Unmarshal(b, &generic) == nil {
			if path, want := mismatch(reflect.TypeFor[T](), generic, "$"); path != "" {
				return v, Errorf(InvalidInput, "%s: must be %s", path, want)
			}
		}
		return v, Errorf(InvalidInput, "$: the %s can't be read: %v", what, err)
	}
	if err := check(v); err != nil {
		return v, err
	}
	return v, nil
}

// mismatch finds the first place where v does not have the type t. It is the
// slow way that is gone only after the fast one has failed, to name the place.
func mismatch(t reflect.Type, v any, path string) (where, want string) {
	if v == nil {
		return "", ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return mismatch(t.Elem(), v, path)
	case reflect.Interface:
		return "", ""
	case reflect.String:
		if _, ok := v.(string); !ok {
			return path, "a string"
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return path, "true or false"
		}
	case reflect.Int, reflect.Int64:
		if n, ok := v.(float64); !ok || n != float64(int64(n)) {
			return path, "a whole number"
		}
	case reflect.Float64:
		if _, ok := v.(float64); !ok {
			return path, "a number"
		}
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return path, "a list"
		}
		for i, e := range list {
			if where, want := mismatch(t.Elem(), e, path+"["+strconv.Itoa(i)+"]"); where != "" {
				return where, want
			}
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return path, "an object"
		}
		for k, e := range m {
			if where, want := mismatch(t.Elem(), e, path+"."+k); where != "" {
				return where, want
			}
		}
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return path, "an object"
		}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			e, there := m[name]
			if name == "" || name == "-" || !there {
				continue
			}
			if where, want := mismatch(t.Field(i).Type, e, path+"."+name); where != "" {
				return where, want
			}
		}
	}
	return "", ""
}
