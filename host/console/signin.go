package console

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// signInKind is a way to sign in, with the inputs that it has. Keys are those of
// a credential in the configuration.
type signInKind struct {
	Name, Label, Hint string
	// At is the key of the sign-in, "" for one of several keys; Fixed is what of it
	// needs no question.
	At     string
	Fixed  map[string]any
	Inputs []signInInput
}

// signInInput is one input of a sign-in: where it stands below its key.
type signInInput struct {
	Path        string
	Label, Hint string
	// Secret: it is sealed, and shown nowhere.
	Secret, Required, Lines, List bool
	Options                       []Option
}

var oauthClient = []signInInput{
	{Path: "issuer", Label: "Issuer", Hint: "URL whose /.well-known/openid-configuration says the rest. Without it, give the URLs below."},
	{Path: "token_url", Label: "Token URL"},
	{Path: "client_id", Label: "Client id", Required: true},
	{Path: "client_secret", Label: "Client secret", Secret: true},
	{Path: "scopes", Label: "Scopes", Hint: "With spaces between them.", List: true},
}

// signInKinds are the sign-ins that have a form here; those that need files or
// programs of the machine are declared in its configuration.
var signInKinds = []signInKind{
	{Name: "oauth2_client_credentials", Label: "OAuth 2.0, client credentials", Hint: "Provost signs in for itself, with a client id and a secret.", At: "oauth2", Fixed: map[string]any{"grant": "client_credentials"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "audience", Label: "Audience"})},
	{Name: "oauth2_authorization_code", Label: "OAuth 2.0, a person authorizes", Hint: "Somebody signs in at the provider once; from then on it is refreshed.", At: "oauth2", Fixed: map[string]any{"grant": "authorization_code"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "authorization_url", Label: "Authorization URL"})},
	{Name: "oauth2_device_code", Label: "OAuth 2.0, on another device", Hint: "Somebody types a code at the provider.", At: "oauth2", Fixed: map[string]any{"grant": "device_code"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "device_url", Label: "Device authorization URL"})},
	{Name: "oauth2_jwt_bearer", Label: "OAuth 2.0, signed assertion", Hint: "Provost signs with a private key whose public half the provider has.", At: "oauth2", Fixed: map[string]any{"grant": "jwt_bearer", "auth_style": "none"},
		Inputs: []signInInput{{Path: "token_url", Label: "Token URL", Required: true}, {Path: "client_id", Label: "Client id", Required: true},
			{Path: "key.secret", Label: "Private key", Hint: "PEM, PKCS#8 or JWK.", Secret: true, Required: true, Lines: true}, {Path: "key.id", Label: "Key id"},
			{Path: "assertion.subject", Label: "Subject", Hint: "On whose behalf."}, {Path: "assertion.audience", Label: "Audience"}, {Path: "scopes", Label: "Scopes", List: true}}},
	{Name: "oauth2_password", Label: "OAuth 2.0, name and password", Hint: "For providers that have nothing better: Provost sends the name and the password of one account for a token.", At: "oauth2", Fixed: map[string]any{"grant": "password"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "username", Label: "User name", Required: true}, signInInput{Path: "password", Label: "Password", Secret: true, Required: true})},
	{Name: "oauth2_token_exchange", Label: "OAuth 2.0, token exchange", Hint: "A token that Provost has is exchanged for one of the app.", At: "oauth2", Fixed: map[string]any{"grant": "token_exchange"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "subject_token", Label: "Token to exchange", Secret: true, Required: true, Lines: true}, signInInput{Path: "audience", Label: "Audience"})},
	{Name: "bearer", Label: "Bearer token", Hint: "A fixed token, in the Authorization header.", At: "bearer",
		Inputs: []signInInput{{Path: "token", Label: "Token", Secret: true, Required: true}}},
	{Name: "api_key", Label: "API key", Hint: "In a header of its own.", At: "api_key",
		Inputs: []signInInput{{Path: "value", Label: "Key", Secret: true, Required: true}, {Path: "header", Label: "Header", Hint: "Without it: X-API-Key."}, {Path: "prefix", Label: "Prefix", Hint: "What stands before the key."}}},
	{Name: "basic", Label: "Name and password", Hint: "HTTP Basic.", At: "basic",
		Inputs: []signInInput{{Path: "username", Label: "User name", Required: true}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "digest", Label: "Name and password, HTTP Digest", At: "digest",
		Inputs: []signInInput{{Path: "username", Label: "User name", Required: true}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "jwt", Label: "Signed token", Hint: "Provost signs a token for each request.", At: "jwt",
		Inputs: []signInInput{{Path: "key.secret", Label: "Private key", Hint: "PEM, PKCS#8 or JWK.", Secret: true, Required: true, Lines: true}, {Path: "key.id", Label: "Key id"},
			{Path: "assertion.issuer", Label: "Issuer"}, {Path: "assertion.subject", Label: "Subject"}, {Path: "assertion.audience", Label: "Audience"}}},
	{Name: "aws", Label: "AWS Signature Version 4", At: "aws",
		Inputs: []signInInput{{Path: "region", Label: "Region", Required: true}, {Path: "service", Label: "Service", Required: true, Hint: "Such as identitystore."},
			{Path: "access_key_id", Label: "Access key id", Required: true}, {Path: "secret_access_key", Label: "Secret access key", Secret: true, Required: true}, {Path: "role_arn", Label: "Role to assume"}}},
	{Name: "hmac", Label: "Keyed digest (HMAC)", At: "hmac",
		Inputs: []signInInput{{Path: "key", Label: "Key", Secret: true, Required: true}, {Path: "key_id", Label: "Key id"}, {Path: "header", Label: "Header", Hint: "Without it: Authorization."},
			{Path: "algorithm", Label: "Digest", Options: []Option{{"", "sha256"}, {"sha1", "sha1"}, {"sha512", "sha512"}}}}},
	{Name: "session", Label: "Session", Hint: "A request of its own begins a session.", At: "session",
		Inputs: []signInInput{{Path: "path", Label: "Path", Required: true, Hint: "Of the request that signs in, such as /login."}, {Path: "username", Label: "User name"}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "mutual_tls", Label: "Client certificate (mutual TLS)", Hint: "Nothing but the certificate of the connection.", Fixed: map[string]any{"mutual_tls": true},
		Inputs: []signInInput{{Path: "tls.identity.secret", Label: "Certificate and key", Hint: "Both in one, as PEM.", Secret: true, Required: true, Lines: true}, {Path: "tls.identity.password", Label: "Password of the key", Secret: true}}},
	{Name: "anonymous", Label: "No sign-in", Fixed: map[string]any{"anonymous": true}},
}

func signInKindOf(name string) signInKind {
	for _, k := range signInKinds {
		if k.Name == name {
			return k
		}
	}
	return signInKinds[0]
}

// signInKindIn is the kind that the entry of a credential is of; false where it
// has no form here.
func signInKindIn(document map[string]any) (signInKind, bool) {
	for _, k := range signInKinds {
		in, there := document, true
		if k.At != "" {
			in, there = document[k.At].(map[string]any)
		}
		is := there
		for key, value := range k.Fixed {
			have, there := in[key]
			if key == "grant" && !there {
				have = "client_credentials" // what it is without it
			}
			is = is && (have == value || key == "auth_style")
		}
		if is {
			return k, true
		}
	}
	return signInKind{}, false
}

// fields are the inputs of a credential, with what form has for each but for
// secrets, and what is wrong with it.
func (k signInKind) fields(form url.Values, problem string) []Field {
	fields := []Field{
		{Name: "name", Label: "Name", Required: true, Hint: "Letters, digits and single underscores."},
		{Name: "endpoint", Label: "Endpoint", Type: "url", Required: true, Hint: "URL that every path of the app is below, such as https://acme.example.com/scim/v2"},
	}
	for _, in := range k.Inputs {
		f := Field{Name: "in." + in.Path, Label: in.Label, Hint: in.Hint, Required: in.Required, Options: in.Options}
		if in.Secret {
			f.Type = "password"
		}
		if in.Lines {
			f.Lines = 4
		}
		fields = append(fields, f)
	}
	fields = append(fields, Field{Name: "rate", Label: "Most requests", Hint: "Such as 20/s or 600/m. Without it, as many as there are."})
	for i := range fields {
		f := &fields[i]
		if !k.isSecret(f.Name) {
			f.Value = form.Get(f.Name)
		}
		f.Problem = problemAt(problem, f.Name, k)
	}
	return fields
}

// changed are the inputs for a credential that there is: its secrets may be left
// empty, and stay.
func (k signInKind) changed(form url.Values, document map[string]any, problem string) []Field {
	fields := k.fields(form, problem)[1:] // its name stays
	for i := range fields {
		path, is := strings.CutPrefix(fields[i].Name, "in.")
		if !is || !k.isSecret(fields[i].Name) {
			continue
		}
		if k.at(document, path) != nil {
			fields[i].Required, fields[i].Hint = false, "Left empty, it stays as it is. For another address it is to be given again."
		}
	}
	return fields
}

func (k signInKind) isSecret(field string) bool {
	return slices.ContainsFunc(k.Inputs, func(in signInInput) bool { return in.Secret && "in."+in.Path == field })
}

// form has what the entry of a credential says, for its inputs.
func (k signInKind) form(document map[string]any) url.Values {
	form := url.Values{"endpoint": {text(document, "endpoint", "")}, "rate": {text(object(document, "limits"), "rate", "")}}
	for _, in := range k.Inputs {
		switch value := k.at(document, in.Path).(type) {
		case string:
			form.Set("in."+in.Path, value)
		case []any:
			var words []string
			for _, one := range value {
				if word, is := one.(string); is {
					words = append(words, word)
				}
			}
			form.Set("in."+in.Path, strings.Join(words, " "))
		}
	}
	return form
}

// at is what an entry has at the path of an input; nil for nothing.
func (k signInKind) at(document map[string]any, path string) any {
	var value any = document
	if k.At != "" {
		path = k.At + "." + path
	}
	for key := range strings.SplitSeq(path, ".") {
		in, _ := value.(map[string]any)
		value = in[key]
	}
	return value
}

// document is the entry of the configuration that a form makes. before is the one
// that it changes, nil for none: what the form does not have stays as there, and
// secrets that are left empty, too.
func (k signInKind) document(form url.Values, before map[string]any) (name string, document map[string]any) {
	document = copied(before)
	name = strings.TrimSpace(form.Get("name"))
	if before != nil {
		name = text(before, "name", "")
	}
	document["name"], document["endpoint"] = name, strings.TrimSpace(form.Get("endpoint"))
	if rate := strings.TrimSpace(form.Get("rate")); rate != "" {
		put(document, "limits.rate", rate)
	} else if limits := object(document, "limits"); limits["rate"] != nil {
		delete(limits, "rate")
	}
	in := document
	if k.At != "" {
		in, _ = document[k.At].(map[string]any)
		if in == nil {
			in = map[string]any{}
			document[k.At] = in
		}
	}
	if before == nil {
		maps.Copy(in, k.Fixed)
	}
	for _, one := range k.Inputs {
		given := form.Get("in." + one.Path)
		if strings.TrimSpace(given) == "" {
			if !one.Secret && k.at(document, one.Path) != nil {
				drop(in, one.Path)
			}
			continue
		}
		var value any = strings.TrimSpace(given)
		switch {
		case one.Secret:
			value = map[string]any{"value": strings.TrimRight(given, "\r\n")}
		case one.List:
			value = anys(strings.Fields(given))
		}
		put(in, one.Path, value)
	}
	return name, document
}

// copied is a copy of a document, down to its leaves.
func copied(document map[string]any) map[string]any {
	out := map[string]any{}
	if b, err := json.Marshal(document); err == nil && document != nil {
		_ = json.Unmarshal(b, &out) // it was one
	}
	return out
}

// put puts a value at a path of keys.
func put(m map[string]any, path string, value any) {
	for {
		key, rest, more := strings.Cut(path, ".")
		if !more {
			m[key] = value
			return
		}
		inner, ok := m[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			m[key] = inner
		}
		m, path = inner, rest
	}
}

// drop takes away what is at a path of keys.
func drop(m map[string]any, path string) {
	for {
		key, rest, more := strings.Cut(path, ".")
		if !more {
			delete(m, key)
			return
		}
		inner, ok := m[key].(map[string]any)
		if !ok {
			return
		}
		m, path = inner, rest
	}
}

// problemAt is the line of a configuration's problems that is about an input.
func problemAt(said, name string, k signInKind) string {
	key := map[string]string{"rate": "limits.rate"}[name]
	if key == "" {
		key = name
	}
	if path, is := strings.CutPrefix(name, "in."); is {
		key = strings.TrimPrefix(k.At+"."+path, ".")
	}
	for line := range strings.Lines(said) {
		if _, why, found := strings.Cut(line, "."+key+": "); found {
			return strings.TrimSpace(why)
		}
	}
	return ""
}
