package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"
)

var (
	slug          = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	developerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*$`)
	attributeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	variableName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	digest        = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
)

// Builtins are the connectors that are part of the binary.
var Builtins = []string{"mock", "scim"}

// checker collects what [Config.check] finds.
type checker struct {
	at       map[string]position
	problems []Problem
}

func (c *checker) fail(key, format string, args ...any) {
	c.problems = append(c.problems, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// check finds what the types alone don't say. What is missing is reported
// already where it was read.
func (c *Config) check() []Problem {
	k := checker{at: c.at}
	if c.Database.URL != "" {
		scheme, _, ok := strings.Cut(c.Database.URL, ":")
		switch {
		case !ok || scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql":
			// The URL may hold a password: it is not repeated.
			k.fail("database.url", "must begin with sqlite:// or postgres://")
		default:
			if _, err := url.Parse(c.Database.URL); err != nil {
				k.fail("database.url", "is no URL")
			}
		}
	}
	if c.Database.Copies < 0 {
		k.fail("database.copies", "%d is less than none; 0 makes no copies", c.Database.Copies)
	}
	k.address("listen.api", c.Listen.API)
	k.address("listen.metrics", c.Listen.Metrics)
	k.link("listen.public_url", c.Listen.PublicURL)
	k.metrics(c.Metrics)
	var identities []string
	for name, is := range map[string]bool{"identity_file": c.Secrets.IdentityFile != "", "identity_env": c.Secrets.IdentityEnv != "", "identity_command": len(c.Secrets.IdentityCommand) > 0,
		"identity_systemd": c.Secrets.IdentitySystemd != ""} {
		if is {
			identities = append(identities, name)
		}
	}
	if slices.Sort(identities); len(identities) > 1 {
		k.fail("secrets", "has %s; one of them is enough", strings.Join(identities, " and "))
	}
	if name := c.Secrets.IdentitySystemd; name != "" && (name != filepath.Base(name) || strings.HasPrefix(name, ".")) {
		k.fail("secrets.identity_systemd", "%q is no name of a systemd credential", short(name))
	}
	for i, name := range c.Users.Attributes {
		if !attributeName.MatchString(name) {
			k.fail(fmt.Sprintf("users.attributes[%d]", i), "%q is no name; letters, digits and underscores, and no digit first", short(name))
		}
	}
	if _, _, ok := c.Users.Disable.Parse(); c.Users.Disable != "" && !ok {
		k.fail("users.disable_threshold", "%q is no threshold; write a number (\"20\") or a share (\"5%%\")", short(string(c.Users.Disable)))
	}
	for i := range c.Signers {
		checkSigner(&k, &c.Signers[i], entryKey("signers", c.Signers[i].Name, i))
	}
	for i := range c.Plugins {
		c.checkPlugin(&k, &c.Plugins[i], entryKey("plugins", c.Plugins[i].Name, i))
	}
	for i := range c.Credentials {
		checkCredential(&k, &c.Credentials[i], entryKey("credentials", c.Credentials[i].Name, i))
	}
	for i := range c.Groups {
		key := entryKey("groups", c.Groups[i].Name, i)
		if name := c.Groups[i].Name; name != "" && !slug.MatchString(name) {
			k.fail(key+".name", "%q is no name; lower-case letters, digits and hyphens, a letter first", short(name))
		}
	}
	for i := range c.Tables {
		key := entryKey("tables", c.Tables[i].Name, i)
		if name := c.Tables[i].Name; name != "" && !attributeName.MatchString(name) {
			k.fail(key+".name", "%q is no name; letters, digits and underscores, and no digit first", short(name))
		}
		seen := map[string]bool{}
		for j, v := range c.Tables[i].Values {
			if v.Key != "" && seen[v.Key] {
				k.fail(fmt.Sprintf("%s.values[%d].key", key, j), "%q is there twice", short(v.Key))
			}
			seen[v.Key] = true
		}
	}
	for i := range c.Apps {
		c.checkApp(&k, &c.Apps[i], entryKey("apps", c.Apps[i].Name, i))
	}
	c.checkAccess(&k)
	c.checkTracing(&k)
	k.rate("log.plugin_lines", c.Log.PluginLines)
	k.rate("listen.rate", c.Listen.Rate)
	if c.Listen.Burst < 1 || c.Listen.Burst > 100_000 {
		k.fail("listen.burst", "%d is not between 1 and 100000", c.Listen.Burst)
	}
	var plugins []string
	for _, p := range c.Plugins {
		plugins = append(plugins, p.Name)
	}
	for i := range c.Log.Connectors {
		k.named(entryKey("log.connectors", c.Log.Connectors[i].Name, i)+".name", "plugin", c.Log.Connectors[i].Name, plugins)
	}
	for i := range c.Notify {
		checkChannel(&k, &c.Notify[i], entryKey("notify", c.Notify[i].Name, i))
	}
	return k.problems
}

// entryKey is the key that the decoder gave an entry.
func entryKey(list, name string, i int) string {
	if name == "" || strings.ContainsAny(name, ".[]\n") {
		return fmt.Sprintf("%s[%d]", list, i)
	}
	return join(list, name)
}

func (k *checker) address(key, address string) {
	if address == "" {
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.fail(key, "%q is no host:port, such as 127.0.0.1:8080", short(address))
	}
}

// link reports an address that is no plain http or https URL.
func (k *checker) link(key, text string) {
	u, err := url.Parse(text)
	switch {
	case text == "": // reported as missing
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		k.fail(key, "%q is no URL; write https://host/path", short(hideUser(text)))
	case u.User != nil:
		k.fail(key, "must not hold a name or password; those belong into the sign-in")
	case u.Fragment != "":
		k.fail(key, "must not have a fragment (#%s)", short(u.Fragment))
	case u.RawQuery != "":
		k.fail(key, "must not have a query (?…)")
	}
}

// hideUser takes what may be a password out of a URL that is none.
func hideUser(text string) string {
	if i := strings.LastIndex(text, "@"); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

func (c *Config) checkPlugin(k *checker, p *Plugin, key string) {
	k.rollout(key, p)
	if p.Name != "" && !slug.MatchString(p.Name) {
		k.fail(key+".name", "%q is no name; lower-case letters, digits and hyphens, a letter first", short(p.Name))
	}
	if name, ok := strings.CutPrefix(p.Source, "builtin:"); ok {
		known := false
		for _, b := range Builtins {
			known = known || b == name
		}
		if !known {
			hint := suggest(name, Builtins)
			if hint == "" {
				hint = "; there are " + strings.Join(Builtins, " and ")
			}
			k.fail(key+".source", "no connector %q is built in%s", short(name), hint)
		}
	} else if sum, ok := strings.CutPrefix(p.Source, UploadedPrefix); ok {
		if !digest.MatchString(sum) {
			k.fail(key+".source", "must be %s and 64 hex digits in lower case", UploadedPrefix)
		}
	} else if scheme, _, ok := strings.Cut(p.Source, "://"); ok && scheme != "https" && scheme != "oci" {
		k.fail(key+".source", "%q is neither builtin:NAME nor a path nor https:// nor oci://", short(hideUser(p.Source)))
	} else if !ok && p.Source != "" {
		at := c.locate(Problem{Key: key + ".source"})
		p.Path = absolute(at.File, p.Source)
	}
	if p.Digest != "" && !digest.MatchString(p.Digest) {
		k.fail(key+".digest", "must be sha256: and 64 hex digits in lower case")
	}
	c.checkSigners(k, p, key)
}

func checkCredential(k *checker, c *Credential, key string) {
	if c.Name != "" && !developerName.MatchString(c.Name) {
		k.fail(key+".name", "%q is no developer name; letters, digits and single underscores, a letter first", short(c.Name))
	}
	k.link(key+".endpoint", c.Endpoint)
	k.rate(key+".limits.rate", c.Limits.Rate)
	var signIns []string
	for _, one := range []struct {
		name string
		is   bool
	}{{"anonymous", c.Anonymous}, {"mutual_tls", c.MutualTLS}, {"basic", c.Basic != nil}, {"digest", c.Digest != nil}, {"bearer", c.Bearer != nil},
		{"api_key", c.APIKey != nil}, {"oauth2", c.OAuth2 != nil}, {"jwt", c.JWT != nil}, {"aws", c.AWS != nil}, {"hmac", c.HMAC != nil}, {"session", c.Session != nil}} {
		if one.is {
			signIns = append(signIns, one.name)
		}
	}
	k.secrets(key, reflect.ValueOf(c).Elem())
	if a := c.APIKey; a != nil && a.Header != "" && !headerName.MatchString(a.Header) {
		k.fail(key+".api_key.header", "%q is no name of a header", short(a.Header))
	}
	if o := c.OAuth2; o != nil {
		for name, text := range map[string]string{"issuer": o.Issuer, "authorization_url": o.AuthorizationURL, "token_url": o.TokenURL, "device_url": o.DeviceURL, "revocation_url": o.RevocationURL} {
			k.link(key+".oauth2."+name, text)
		}
		if o.TokenURL == "" && o.Issuer == "" {
			k.fail(key+".oauth2.token_url", "is missing; give it, or issuer")
		}
	}
	for _, h := range c.Headers {
		if !headerName.MatchString(h.Name) {
			k.fail(join(key, "headers."+h.Name), "%q is no name of a header", short(h.Name))
		}
	}
	switch {
	case len(signIns) == 0 && len(c.Headers) == 0:
		k.fail(key, "has no sign-in; give one of anonymous: true, mutual_tls: true, basic, digest, bearer, api_key, oauth2, jwt, aws, hmac, session, headers")
	case len(signIns) > 1:
		k.fail(key, "has %d sign-ins (%s); keep one", len(signIns), strings.Join(signIns, ", "))
	}
	if c.MutualTLS && c.TLS.Cert == "" && c.TLS.Identity == nil {
		k.fail(key+".tls", "has neither cert nor identity, which mutual_tls is about")
	}
	if c.TLS.Cert != "" && c.TLS.Identity != nil {
		k.fail(key+".tls", "has cert and identity; keep one")
	}
	if c.Probe != "" && !strings.HasPrefix(c.Probe, "/") {
		k.fail(key+".probe", "%q must begin with /", short(c.Probe))
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		k.fail(key+".tls", "has a cert or a key without the other")
	}
}

// secrets looks at every secret within v.
func (k *checker) secrets(key string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		k.secrets(key, v.Elem())
	case v.Type() == reflect.TypeFor[Secret]():
		k.secret(key, v.Interface().(Secret))
	case v.Kind() == reflect.Struct:
		for _, f := range fields(v.Type()) {
			k.secrets(join(key, f.Tag.Get("yaml")), v.FieldByIndex(f.Index))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			name := ""
			if f := v.Index(i).FieldByName("Name"); f.IsValid() {
				name = f.String()
			}
			k.secrets(entryKey(key, name, i), v.Index(i))
		}
	}
}

// secret reports a secret that doesn't stand in exactly one place. It never
// repeats one.
func (k *checker) secret(key string, s Secret) {
	places := s.places()
	if s.Env != "" && !variableName.MatchString(s.Env) {
		k.fail(key+".env", "is no name of an environment variable; write {env: NAME}")
	}
	_, given := k.at[key]
	for _, name := range []string{"env", "file", "sealed", "value", "command", "vault", "systemd"} {
		_, wrong := k.at[join(key, name)] // reported where it was read
		given = given && !wrong
	}
	if given && len(places) == 0 {
		k.fail(key, "says nothing; give one of {env: NAME}, {file: PATH}, {sealed: …}, {command: [PROGRAM, …]}, {vault: …}, {systemd: NAME}, {value: …}")
	}
	if len(places) > 1 {
		k.fail(key, "stands in %d places; keep one of %s", len(places), strings.Join(places, ", "))
	}
	if v := s.Vault; v != nil {
		k.link(key+".vault.url", v.URL)
		if (v.TokenEnv == "") == (v.TokenFile == "") {
			k.fail(key+".vault", "wants one of token_env and token_file")
		}
	}
	if s.Previous != nil {
		if s.Previous.Previous != nil {
			k.fail(key+".previous.previous", "is one too many: there is the secret, and the one before")
		}
		k.secret(key+".previous", *s.Previous)
	}
}

func (c *Config) checkApp(k *checker, a *App, key string) {
	if a.Name != "" && !slug.MatchString(a.Name) {
		k.fail(key+".name", "%q is no name; lower-case letters, digits and hyphens, a letter first", short(a.Name))
	}
	var plugins, credentials []string
	for _, p := range c.Plugins {
		plugins = append(plugins, p.Name)
	}
	for _, cred := range c.Credentials {
		credentials = append(credentials, cred.Name)
	}
	k.named(key+".plugin", "plugin", a.Plugin, plugins)
	k.named(key+".credential", "credential", a.Credential, credentials)
	var groups []string
	for _, g := range c.Groups {
		groups = append(groups, g.Name)
	}
	k.named(key+".approval_group", "group", a.ApprovalGroup, groups)
	if a.Approval == "group" && a.ApprovalGroup == "" {
		k.fail(key+".approval_group", "is missing; name one of groups")
	}
	if a.Approval == "expression" && a.ApprovalRule == "" {
		k.fail(key+".approval_rule", "is missing; write an expression such as user.Department == \"Finance\"")
	}
	k.rate(key+".limits.rate", a.Limits.Rate)
	for i, text := range a.Fallback {
		if _, _, err := ParseFallback(text); err != nil {
			k.fail(fmt.Sprintf("%s.fallback[%d]", key, i), "%v", err)
		}
	}
	k.schedule(key+".reconcile.schedule", a.Reconcile.Schedule)
	for name, t := range map[string]Threshold{"deactivate": a.Reconcile.Thresholds.Deactivate, "delete": a.Reconcile.Thresholds.Delete, "found": a.Reconcile.Thresholds.Found} {
		if _, _, ok := t.Parse(); t != "" && !ok {
			k.fail(key+".reconcile.thresholds."+name, "%q is no threshold; write a number (\"20\") or a share (\"5%%\")", short(string(t)))
		}
	}
}

// operations are those that a fallback may name.
var operations = []string{"Create", "Update", "Deactivate", "Activate", "Freeze", "Unfreeze", "Reactivate", "Delete"}

// ParseFallback reads "Freeze = Deactivate".
func ParseFallback(text string) (of, to string, err error) {
	of, to, ok := strings.Cut(text, "=")
	of, to = strings.TrimSpace(of), strings.TrimSpace(to)
	if !ok {
		return "", "", fmt.Errorf("%q is not of the form Freeze = Deactivate", short(text))
	}
	for _, name := range []string{of, to} {
		if !slices.Contains(operations, name) {
			return "", "", fmt.Errorf("there is no operation %q%s", short(name), suggest(name, operations))
		}
	}
	if of == to {
		return "", "", fmt.Errorf("%s can't stand in for itself", of)
	}
	return of, to, nil
}

func (k *checker) rate(key string, r Rate) {
	if r != "" && r.PerSecond() == 0 {
		k.fail(key, "%q is no rate; write 20/s, 600/m or 5000/h", short(string(r)))
	}
}

func (k *checker) schedule(key, text string) {
	if text == "" {
		return
	}
	if _, err := cron.ParseStandard(text); err != nil {
		k.fail(key, "%q is no cron expression such as \"0 2 * * *\": %v", short(text), err)
	}
}

func (k *checker) named(key, kind, name string, names []string) {
	if name == "" {
		return
	}
	for _, n := range names {
		if n == name {
			return
		}
	}
	k.fail(key, "no %s named %q%s", kind, short(name), suggest(name, names))
}
