package callout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// mostShown is how much of a body is shown.
const mostShown = 4 << 10

// secretWords are what the names of members have in them whose values are not
// for showing.
var secretWords = []string{"password", "passwd", "secret", "token", "authorization", "credential", "passphrase", "privatekey", "apikey", "pin"}

// Redact is a body as a person may see it: JSON with the values of secret
// members masked, and each of secrets wherever it stands; of anything else only
// how much there is. It is at most 4 KiB long.
func Redact(body []byte, secrets ...string) string {
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
	if e.Encode(mask(v, secrets)) != nil {
		return fmt.Sprintf("(%d bytes)", len(body))
	}
	text := strings.TrimSpace(out.String())
	if len(text) > mostShown {
		text = strings.ToValidUTF8(text[:mostShown], "") + fmt.Sprintf("… (%d bytes)", len(text))
	}
	return text
}

const masked = "•••"

func mask(v any, secrets []string) any {
	switch v := v.(type) {
	case map[string]any:
		// What a SCIM patch changes is named beside the value.
		path, _ := v["path"].(string)
		for name, value := range v {
			switch {
			case isSecret(name) && value != nil, name == "value" && isSecret(path):
				v[name] = masked
			default:
				v[name] = mask(value, secrets)
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = mask(v[i], secrets)
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
