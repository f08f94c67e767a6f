package callout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
)

// mostShown is how much of a body is shown.
const mostShown = 4 << 10

// secretWords are what the names of members have in them whose values are not
// for showing.
var secretWords = []string{"password", "passwd", "secret", "token", "authorization", "credential", "passphrase", "privatekey", "apikey", "pin"}

// Redact is a body as a person may see it: JSON with the values of secret
// members masked, and of those whose names match a rule (phone*, without regard
// to case), and each of secrets wherever it stands; of anything else only how
// much there is. It is at most 4 KiB long.
func Redact(body []byte, rules []string, secrets ...string) string {
	if len(body) == 0 {
		return ""
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return fmt.Sprintf("(%d bytes that are no JSON)", len(body))
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(mask(v, rules, secrets)) != nil {
		return fmt.Sprintf("(%d bytes)", len(body))
	}
	text := strings.TrimSpace(out.String())
	if len(text) > mostShown {
		text = strings.ToValidUTF8(text[:mostShown], "") + fmt.Sprintf("… (%d bytes)", len(text))
	}
	return text
}

const masked = "•••"

func mask(v any, rules, secrets []string) any {
	switch v := v.(type) {
	case map[string]any:
		// What a SCIM patch changes is named beside the value.
		at, _ := v["path"].(string)
		for name, value := range v {
			for _, s := range secrets {
				if s != "" && strings.Contains(name, s) {
					delete(v, name)
					name = strings.ReplaceAll(name, s, masked)
				}
			}
			switch {
			case (isSecret(name) || matches(rules, name)) && value != nil, name == "value" && (isSecret(at) || matches(rules, at)):
				v[name] = masked
			default:
				v[name] = mask(value, rules, secrets)
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = mask(v[i], rules, secrets)
		}
		return v
	case string:
		for _, s := range secrets {
			if s != "" {
				v = strings.ReplaceAll(v, s, masked)
			}
		}
		return v
	default:
		return v
	}
}

func isSecret(name string) bool {
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	for _, w := range secretWords {
		if strings.HasSuffix(name, w) || strings.HasPrefix(name, w) && w != "pin" {
			return true
		}
	}
	return false
}

// matches tells whether a name, or the last part of a path, is one of a rule.
func matches(rules []string, name string) bool {
	name = strings.ToLower(name)
	last := name[strings.LastIndexAny(name, ".:")+1:]
	return slices.ContainsFunc(rules, func(rule string) bool {
		rule = strings.ToLower(rule)
		whole, err := path.Match(rule, name)
		end, err2 := path.Match(rule, last)
		return err == nil && whole || err2 == nil && end
	})
}

// RedactHeader is what a person may see of headers.
func RedactHeader(header map[string]string, rules []string, secrets ...string) map[string]string {
	out := make(map[string]string, len(header))
	for name, value := range header {
		for _, s := range secrets {
			if s != "" {
				value = strings.ReplaceAll(value, s, masked)
			}
		}
		switch strings.ToLower(name) {
		case "location", "content-location", "referer":
			value = RedactURL(value, rules)
		}
		if isSecret(name) || matches(rules, name) || strings.EqualFold(name, "Cookie") {
			value = masked
		}
		out[clip(name, 100)] = strings.ToValidUTF8(clip(value, 300), "")
	}
	return out
}

// RedactURL is a URL as a person may see it who asked for bodies: the values of
// its query are there, but those that a name or a rule masks in [Redact], in a
// filter that speaks of such a member, too.
func RedactURL(raw string, rules []string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
				raw = strings.ReplaceAll(raw, form, masked)
			}
		}
	}
	before, query, ok := strings.Cut(raw, "?")
	if !ok {
		return raw
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		if shown, err := url.QueryUnescape(name); err == nil && (isSecret(shown) || matches(rules, shown)) || speaksOf(value, rules) {
			parts[i] = name + "=" + masked
		}
	}
	return before + "?" + strings.Join(parts, "&")
}

// speaksOf tells whether a value, such as a filter, names a member that is
// masked.
func speaksOf(value string, rules []string) bool {
	text, err := url.QueryUnescape(value)
	if err != nil {
		return true
	}
	words := strings.FieldsFunc(text, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-.:$", c)
	})
	return len(words) > 1 && slices.ContainsFunc(words, func(w string) bool { return isSecret(w) || matches(rules, w) })
}

// RedactQuery is a URL whose query has its names, and of its values only numbers
// and truth values: the others may be somebody's.
func RedactQuery(raw string) string {
	before, query, ok := strings.Cut(raw, "?")
	if !ok {
		return raw
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		if ok && value != "" && strings.Trim(value, "0123456789") != "" && value != "true" && value != "false" {
			parts[i] = name + "=" + masked
		}
	}
	return before + "?" + strings.Join(parts, "&")
}
