package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Access says how people sign in and what they may do.
type Access struct {
	OIDC     *OIDC      `yaml:"oidc" doc:"An OpenID Connect provider that people sign in at."`
	Roles    []RoleFor  `yaml:"roles" doc:"Roles that people have, besides those that provost role assign gives."`
	Sessions SessionFor `yaml:"sessions" doc:"How long somebody stays signed in."`
	Tokens   TokenFor   `yaml:"tokens" doc:"How long tokens last."`
}

// OIDC is an OpenID Connect provider, and what we are to it. Its client is
// registered with listen.public_url and /console/sign-in/callback.
type OIDC struct {
	Issuer       string   `yaml:"issuer" required:"true" doc:"The provider's issuer URL; its configuration is below it."`
	ClientID     string   `yaml:"client_id" required:"true" doc:"Id of our client."`
	ClientSecret Secret   `yaml:"client_secret" doc:"The client's secret; without it the client is public, and PKCE alone protects the sign-in."`
	Label        string   `yaml:"label" doc:"What people call the provider; without it the issuer's host."`
	Scopes       []string `yaml:"scopes" doc:"What is asked for; without any: openid, profile, email, groups."`
	GroupsClaim  string   `yaml:"groups_claim" default:"groups" doc:"The claim that has a person's groups."`
	UserClaim    string   `yaml:"user_claim" default:"preferred_username" doc:"The claim that has the username of the user that a person is. It must be one that people can't change themselves; email counts only where it is verified."`
	CA           string   `yaml:"ca" path:"file" doc:"PEM file with the authorities to trust, in place of the system's."`
}

// RoleFor gives a role to people and groups.
type RoleFor struct {
	Role       string   `yaml:"role" required:"true" enum:"administrator,app-owner,approver,auditor,operator,read-only" doc:"The role."`
	Apps       []string `yaml:"apps" doc:"For these apps only; an app-owner has some."`
	Users      []string `yaml:"users" doc:"Usernames or ids of users."`
	Groups     []string `yaml:"groups" doc:"Names of groups of this configuration."`
	OIDCGroups []string `yaml:"oidc_groups" doc:"Groups that the provider tells of."`
}

// SessionFor bounds a session.
type SessionFor struct {
	Idle     time.Duration `yaml:"idle" default:"1h" doc:"Since its last use. What an open page asks by itself is none."`
	Lifetime time.Duration `yaml:"lifetime" default:"12h" doc:"Since the sign-in."`
	Renew    time.Duration `yaml:"renew" default:"15m" doc:"How long one secret in the browser's cookie counts; then it gets another. One that comes back later was stolen, and ends the session."`
}

// TokenFor bounds tokens.
type TokenFor struct {
	Lifetime time.Duration `yaml:"lifetime" default:"8784h" doc:"The longest that a token may last; those that are there already go on."`
	Groups   time.Duration `yaml:"groups" default:"720h" doc:"How long the groups that the OpenID provider tells of count in a person's own tokens, since that person last signed in."`
}

func (c *Config) checkAccess(k *checker) {
	for i, text := range c.Listen.Proxies {
		if _, err := ParseNetwork(text); err != nil {
			k.fail(fmt.Sprintf("listen.proxies[%d]", i), "%q is no address and no network such as 10.0.0.0/8", short(text))
		}
	}
	for name, d := range map[string]time.Duration{"idle": c.Access.Sessions.Idle, "lifetime": c.Access.Sessions.Lifetime, "renew": c.Access.Sessions.Renew} {
		if d < time.Minute || d > 30*24*time.Hour {
			k.fail("access.sessions."+name, "%s is not between a minute and 30 days", d)
		}
	}
	for name, d := range map[string]time.Duration{"lifetime": c.Access.Tokens.Lifetime, "groups": c.Access.Tokens.Groups} {
		if d < time.Hour || d > 10*366*24*time.Hour {
			k.fail("access.tokens."+name, "%s is not between an hour and ten years", d)
		}
	}
	if o := c.Access.OIDC; o != nil {
		k.secrets("access.oidc", reflect.ValueOf(o).Elem())
		k.link("access.oidc.issuer", o.Issuer)
		if u, err := url.Parse(o.Issuer); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
			k.fail("access.oidc.issuer", "must be https://: whoever stands between could sign in as anybody")
		}
		if len(o.Scopes) > 0 && !slices.Contains(o.Scopes, "openid") {
			k.fail("access.oidc.scopes", "must have openid")
		}
	}
	var groups []string
	for _, g := range c.Groups {
		groups = append(groups, g.Name)
	}
	for i, r := range c.Access.Roles {
		key := fmt.Sprintf("access.roles[%d]", i)
		for j, name := range r.Groups {
			k.named(fmt.Sprintf("%s.groups[%d]", key, j), "group", name, groups)
		}
		switch {
		case len(r.Users)+len(r.Groups)+len(r.OIDCGroups) == 0:
			k.fail(key, "is for nobody; give users, groups or oidc_groups")
		case len(r.OIDCGroups) > 0 && c.Access.OIDC == nil:
			k.fail(key+".oidc_groups", "are told by a provider, and there is none; give access.oidc")
		case r.Role == "app-owner" && len(r.Apps) == 0:
			k.fail(key+".apps", "is missing; an app-owner is one of some apps")
		case r.Role == "administrator" && len(r.Apps) > 0:
			k.fail(key+".apps", "is for the other roles; who may all for some apps is their app-owner")
		}
	}
}

// ParseNetwork reads a network, or an address as the network of it alone.
func ParseNetwork(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func loopback(name string) bool {
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}
