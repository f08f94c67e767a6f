package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Redacted is a configuration for somebody else's eyes: its keys, and of the
// values those that are numbers, durations, words of a list, and names of what
// is configured. Of an address only scheme and host are shown, of a secret only
// where it comes from, and of all else how much there is: what is not known to
// be harmless is left out.
func (c *Config) Redacted() map[string]any {
	return redactObject(reflect.ValueOf(c).Elem())
}

// harmless are the keys whose texts are names of the configuration or of the
// machine; a new key is left out until it stands here.
var harmless = []string{"name", "label", "plugin", "credential", "digest", "api", "metrics", "socket", "region", "service", "schedule", "networks", "hosts", "methods",
	"signers", "env", "systemd", "identity_env", "token_env", "on_unassign", "on_disable", "on_delete", "operations", "preview", "approval", "profiles"}

// addresses are the keys whose texts are addresses.
var addresses = []string{"url", "public_url", "endpoint", "source", "issuer", "authorization_url", "token_url", "device_url", "revocation_url", "sts_endpoint", "smtp"}

func redactObject(v reflect.Value) map[string]any {
	shown := map[string]any{}
	for _, f := range fields(v.Type()) {
		if value := v.FieldByIndex(f.Index); !value.IsZero() {
			shown[f.Tag.Get("yaml")] = redact(value, f)
		}
	}
	return shown
}

func redact(v reflect.Value, f reflect.StructField) any {
	key := f.Tag.Get("yaml")
	open := f.Tag.Get("enum") != "" || f.Tag.Get("path") != "" || slices.Contains(harmless, key)
	if s, is := v.Interface().(Secret); is {
		return fromWhere(s)
	}
	if f.Tag.Get("secret") == "true" {
		return "(a secret)"
	}
	switch v.Kind() {
	case reflect.Pointer:
		return redact(v.Elem(), f)
	case reflect.Struct:
		return redactObject(v)
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		if d, is := v.Interface().(time.Duration); is {
			return d.String()
		}
		return v.Interface()
	case reflect.String:
		switch text := v.String(); {
		case slices.Contains(addresses, key):
			return redactAddress(text)
		case open || v.Type() != reflect.TypeFor[string](): // a rate, a threshold: of a form of ours
			return text
		default:
			return fmt.Sprintf("(%d bytes)", len(text))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			var list []any
			for i := range v.Len() {
				list = append(list, redactObject(v.Index(i)))
			}
			return list
		}
		if open && v.Type().Elem().Kind() == reflect.String {
			return v.Interface()
		}
	}
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return fmt.Sprintf("(%d values)", v.Len())
	}
	return "(left out)"
}

// fromWhere says where a secret comes from.
func fromWhere(s Secret) string {
	from := "(a secret: " + strings.Join(s.places(), ", ") + ")"
	if s.Previous != nil {
		from = strings.TrimSuffix(from, ")") + ", and the one before it)"
	}
	return from
}

// redactAddress shows scheme and host. A path may be what lets one in.
func redactAddress(text string) string {
	if scheme, rest, ok := strings.Cut(text, ":"); ok && (scheme == "builtin" || scheme == "sqlite") {
		if scheme == "sqlite" {
			return "sqlite:(a file)"
		}
		return scheme + ":" + rest
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Sprintf("(%d bytes)", len(text))
	}
	shown := u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		shown += "/…"
	}
	return shown
}
