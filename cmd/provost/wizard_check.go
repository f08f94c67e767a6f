package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

// checkDraft finds what is wrong with an app that is being made: what a file
// with it would be refused for, and what would come to nothing.
func (d *daemon) checkDraft(ctx context.Context, cfg *config.Config, draft *host.WizardDraft) (config.App, []config.Problem) {
	app, problems := cfg.DraftApp(draft.AppName, asJSON(draft.Values))
	key := "apps." + app.Name + "."
	fail := func(field, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key + field, Message: fmt.Sprintf(format, args...)})
	}
	said := d.catalogue.Describe(app.Plugin)
	if app.Plugin == "" || !slices.ContainsFunc(cfg.Plugins, func(p config.Plugin) bool { return p.Name == app.Plugin }) {
		return app, problems // told already
	}
	if said == nil {
		fail("plugin", "%s does not serve: %s", app.Plugin, cmp.Or(d.catalogue.OutOf(app.Plugin), "it is loading"))
		return app, problems
	}
	compiled, wrong := compileRules(app, tablesOf(cfg), cfg.Users.Attributes, *said)
	problems = append(append(problems, wrong...), checkApprovalGroups(cfg, app, compiled)...)
	d.checkDraftCredential(ctx, cfg, app, *said, fail)
	checkDraftOperations(app, *said, fail)
	checkParameters(app, *said, fail)
	return app, problems
}

// checkDraftCredential tells whether the connector can sign in.
func (d *daemon) checkDraftCredential(ctx context.Context, cfg *config.Config, app config.App, said pdk.Description, fail func(field, format string, args ...any)) {
	if app.Credential == "" {
		if len(said.CredentialProtocols) > 0 {
			fail("credential", "is missing; %s signs in by %s", app.Plugin, strings.Join(said.CredentialProtocols, ", "))
		}
		return
	}
	for _, c := range d.egress.List() {
		if c.Name != app.Credential || !c.Interactive || c.PerUser {
			continue
		}
		var a *host.Authorization
		err := d.store.View(ctx, func(t *store.Tx) (err error) { a, err = t.Authorization(ctx, c.Name, "", false); return err })
		if err == nil && !a.Usable(time.Now()) {
			fail("credential", "%s is not authorized yet: somebody must sign in there once", c.Name)
		}
	}
	p, err := configuredPlugin(cfg, app.Plugin)
	if err != nil || p.Grants == nil || len(p.Grants.Protocols) == 0 {
		return
	}
	for _, c := range cfg.Credentials {
		in := signInOf(c)
		if kind := in.Kind(); c.Name == app.Credential && !slices.Contains(p.Grants.Protocols, kind) && !slices.Contains(p.Grants.Protocols, host.AnyProtocol) {
			fail("credential", "%s signs in by %s, and plugins.%s.grants.protocols has %s", c.Name, kind, p.Name, strings.Join(p.Grants.Protocols, ", "))
		}
	}
}

// checkDraftOperations tells of what the connector can't do and nothing stands
// in for.
func checkDraftOperations(app config.App, said pdk.Description, fail func(field, format string, args ...any)) {
	c := provisioningConfig(app)
	able := func(op host.Operation) bool {
		if to, ok := c.Fallback[op]; ok {
			op = to
		}
		return c.Allows(op) && slices.Contains(said.Operations, pdk.Operation(strings.ToLower(string(op))))
	}
	needs := map[string][]host.Operation{"Create": {host.Create}, "Update": {host.Update}, "EnableAndDisable": {host.Deactivate, host.Activate},
		"SuspendAndRestore": {host.Freeze, host.Unfreeze}, "Delete": {host.Delete}}
	for i, choice := range app.Operations {
		for _, op := range needs[choice] {
			if !able(op) {
				fail(fmt.Sprintf("operations[%d]", i), "%s can't %s; leave %s out, or say what is done instead", app.Plugin, strings.ToLower(string(op)), choice)
				break
			}
		}
	}
	does := map[host.Consequence]host.Operation{host.DoDeactivate: host.Deactivate, host.DoFreeze: host.Freeze, host.DoDelete: host.Delete}
	for field, consequence := range map[string]host.Consequence{"on_unassign": c.OnUnassign, "on_disable": c.OnDisable, "on_delete": c.OnDelete} {
		if op := does[consequence]; op != "" && !able(op) {
			fail(field, "%s is not among the operations that are switched on, or %s can't do it", op, app.Plugin)
		}
	}
}

// checkParameters tells whether the connector's inputs are as it declares them.
func checkParameters(app config.App, said pdk.Description, fail func(field, format string, args ...any)) {
	for _, p := range said.Inputs {
		v, given := app.Parameters[p.Name]
		switch text, isText := v.(string); {
		case !given && p.Required:
			fail("parameters."+p.Name, "is missing; %s needs it", app.Plugin)
		case !given:
		case p.Type == "number" && !isNumber(v), p.Type == "boolean" && !isTruth(v), (p.Type == "" || p.Type == "text" || p.Type == "date") && !isText:
			fail("parameters."+p.Name, "must be a %s", cmp.Or(p.Type, "text"))
		case p.Type == "date":
			if _, err := time.Parse(time.DateOnly, text); err != nil {
				fail("parameters."+p.Name, "%q is no date such as 2026-03-31", text)
			}
		}
	}
	if len(said.Inputs) == 0 {
		return // some connectors take what they do not declare
	}
	for name := range app.Parameters {
		if !slices.ContainsFunc(said.Inputs, func(p pdk.Parameter) bool { return p.Name == name }) {
			fail("parameters."+name, "is no input of %s", app.Plugin)
		}
	}
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int64, uint64, float64:
		return true
	}
	return false
}

func isTruth(v any) bool { _, is := v.(bool); return is }

func (s service) TryWizard(ctx context.Context, app string, t api.WizardTrial) (*api.Mapping, error) {
	draft, err := s.draft(ctx, app)
	if err != nil {
		return nil, err
	}
	cfg := s.current.Load().config
	entry, _ := cfg.DraftApp(app, asJSON(draft.Values))
	said := s.catalogue.Describe(entry.Plugin)
	if said == nil {
		return nil, host.Errorf(host.Conflict, "choose a connector first")
	}
	rules := t.Mapping
	if rules == nil {
		if rules = entry.Mapping; len(rules) == 0 {
			rules = said.DefaultMapping
		}
	}
	out := &api.Mapping{App: app, Rules: []api.MappingRule{}}
	var u *host.User
	if t.User != "" {
		if u, err = s.User(ctx, t.User); err != nil {
			return nil, err
		}
		out.User = u.Username
	}
	tables := tablesOf(cfg)
	for i, text := range rules {
		out.Rules = append(out.Rules, tryRule(tables, rules[:i], text, *said, u))
	}
	whole, _ := tables.Compile(rules, said.Attributes) // what is wrong stands at each rule
	out.Unmapped = whole.Unmapped(said.Attributes)
	return out, nil
}

// tryRule is what one rule makes of a user, or why it can't be used.
func tryRule(tables mapping.Tables, before []string, text string, said pdk.Description, u *host.User) api.MappingRule {
	path := mapping.RulePath(text, said.Attributes)
	one, err := tables.Compile([]string{text}, said.Attributes)
	if err != nil {
		message := err.Error()
		var rule *mapping.RuleError
		if errors.As(err, &rule) {
			message = rule.Message
		}
		return api.MappingRule{Path: path, Expression: text, Problem: message}
	}
	made := one.Try(u)[0]
	shown := api.MappingRule{Path: made.Path, Expression: made.Expression, OnCreate: made.OnCreate, EmptyLeaves: made.EmptyLeaves, Unique: made.Unique, Secret: made.Secret, Value: made.Value}
	switch {
	case made.Err != nil:
		shown.Problem = made.Err.Error()
	case slices.ContainsFunc(before, func(r string) bool { return mapping.RulePath(r, said.Attributes) == path }):
		shown.Problem = path + " is mapped twice"
	}
	return shown
}

// discoveryAge is how long it counts what a target has said of itself.
const discoveryAge = 10 * time.Minute

// discovered is what a target has said of itself, or why it did not.
type discovered struct {
	at  time.Time
	got pdk.Discovery
	err error
}

// discover asks a target what it has, unless it was asked lately.
func (d *daemon) discover(ctx context.Context, app config.App) (pdk.Discovery, error) {
	key := strings.Join([]string{app.Plugin, d.catalogue.Digest(app.Plugin), app.Credential, strconv.Quote(string(asJSON(app.Parameters)))}, " ")
	if known, ok := d.discoveries.Load(key); ok && time.Since(known.(discovered).at) < discoveryAge && known.(discovered).err == nil {
		return known.(discovered).got, nil
	}
	c, release, err := d.catalogue.Acquire(ctx, app.Plugin, "")
	if err != nil {
		return pdk.Discovery{}, err
	}
	defer release()
	found, _, err := c.Discover(ctx, pdk.Input{NamedCredDevName: app.Credential, Parameters: app.Parameters})
	d.discoveries.Store(key, discovered{time.Now(), found, err})
	return found, err
}

func (s service) SuggestWizard(ctx context.Context, app string) (*api.WizardSuggestions, error) {
	draft, err := s.draft(ctx, app)
	if err != nil {
		return nil, err
	}
	cfg := s.current.Load().config
	entry, _ := cfg.DraftApp(app, asJSON(draft.Values))
	said := s.catalogue.Describe(entry.Plugin)
	if said == nil {
		return nil, host.Errorf(host.Conflict, "choose a connector first")
	}
	out := &api.WizardSuggestions{Attributes: said.Attributes, UserFields: mapping.UserFields(cfg.Users.Attributes), Rules: []api.WizardSuggestion{}, Link: said.DefaultLink}
	if slices.Contains(said.Operations, pdk.OpDiscover) && (entry.Credential != "" || len(said.CredentialProtocols) == 0) {
		found, err := s.discover(ctx, entry)
		if err != nil {
			out.Problem = err.Error()
		}
		for _, class := range found.ObjectClasses {
			if class.Name == pdk.ObjectClassAccount && len(class.Attributes) > 0 {
				out.Attributes, out.Discovered = class.Attributes, true
			}
		}
		out.Warnings = found.Warnings
	}
	if out.Attributes == nil {
		out.Attributes = []pdk.Attribute{}
	}
	for _, one := range mapping.Suggest(out.Attributes, entry.Mapping, said.DefaultMapping, cfg.Users.Attributes) {
		out.Rules = append(out.Rules, api.WizardSuggestion(one))
	}
	return out, nil
}

func (s service) Description(_ context.Context, connector string) (*pdk.Description, error) {
	if _, err := configuredPlugin(s.current.Load().config, connector); err != nil {
		return nil, err
	}
	said := s.catalogue.Describe(connector)
	if said == nil {
		return nil, host.Errorf(host.Unavailable, "%s does not serve: %s", connector, cmp.Or(s.catalogue.OutOf(connector), "it is loading"))
	}
	return said, nil
}
