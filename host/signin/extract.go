package signin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// DecodeAnswer reads an answer of an authorization server or an app: JSON, or a
// form as some old servers send.
func DecodeAnswer(raw []byte) (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err == nil && !d.More() {
		return v, nil
	}
	text := strings.TrimSpace(string(raw))
	form, err := url.ParseQuery(text)
	if err != nil || text == "" || strings.ContainsAny(text, "<>{}\" \n") || !strings.Contains(text, "=") {
		return nil, errors.New("neither JSON nor a form")
	}
	m := make(map[string]any, len(form))
	for name, values := range form {
		m[name] = values[0]
	}
	return m, nil
}

// deepest bounds the steps of a path.
const deepest = 20

// Lookup returns what stands in an answer at a path such as data.token or
// items.0.id: text, or a number or truth value as text. A member whose name has
// dots is found by its whole name.
func Lookup(answer any, path string) (string, bool) {
	v, ok := step(answer, path, deepest)
	if !ok {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		return "", false
	}
}

func step(v any, path string, left int) (any, bool) {
	if path == "" {
		return v, true
	}
	if left == 0 {
		return nil, false
	}
	switch v := v.(type) {
	case map[string]any:
		if found, ok := v[path]; ok {
			return found, true
		}
		name, rest, _ := strings.Cut(path, ".")
		next, ok := v[name]
		if !ok || rest == "" {
			return nil, false
		}
		return step(next, rest, left-1)
	case []any:
		name, rest, _ := strings.Cut(path, ".")
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return step(v[i], rest, left-1)
	default:
		return nil, false
	}
}
