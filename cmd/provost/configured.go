package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// What a configuration says, in the words of the packages that do it.

// connectorSpec is a configured plugin without its module.
func connectorSpec(p config.Plugin) connector.Spec {
	l := p.Limits
	return connector.Spec{
		Name: p.Name, Source: p.Source, Digest: p.Digest, Settings: p.Settings, Hosts: p.Hosts,
		Limits: sandbox.Limits{
			MemoryBytes: int64(l.Memory), Time: l.Time, Input: int(l.Input), Output: int(l.Output), LogBytes: int(l.Log), LogLines: l.LogLines,
			HTTPCalls: l.HTTPCalls, HTTPRequestBytes: int64(l.HTTPRequest), HTTPResponseBytes: int64(l.HTTPResponse),
			VarBytes: int(l.Vars), ModuleBytes: int(l.Module),
			MaxFuel: int64(l.MaxFuel), TableEntries: l.TableEntries, Functions: l.Functions, FunctionBytes: int(l.Function), CompileTime: l.CompileTime,
			CompileMemoryBytes: int64(l.CompileMemory),
			Instances:          l.Instances, IdleInstances: l.IdleInstances, Wait: l.Wait,
		},
	}
}

// provisioningConfig is a configured app, without the ids of its records.
func provisioningConfig(app config.App) *host.UserProvisioningConfig {
	p, t := app.Reconcile, app.Reconcile.Thresholds
	c := &host.UserProvisioningConfig{
		AppName: app.Name, DeveloperName: app.Name, Enabled: app.Enabled,
		NamedCredentialId: app.Credential, OnUpdateAttributes: app.OnUpdateAttributes, ReconFilter: app.ReconFilter, Connector: app.Plugin,
		UserAccountMapping: app.Mapping, LinkRules: app.Link, Scope: app.Scope, Profiles: app.Profiles, Parameters: app.Parameters, MaxAttempts: app.MaxAttempts,
		EnabledOperations: words[host.EnabledOperation](app.Operations),
		Mode:              host.Mode(app.Mode), PreviewOperations: words[host.Operation](app.Preview), PermissionSets: app.PermissionSets,
		OnUnassign: host.Consequence(app.OnUnassign), OnDisable: host.Consequence(app.OnDisable), OnDelete: host.Consequence(app.OnDelete), DeleteAfter: app.DeleteAfter,
		ApprovalGroup: app.ApprovalGroup, ApprovalRule: app.ApprovalRule, ApprovalOperations: words[host.Operation](app.ApprovalOperations), ApprovalExpires: app.ApprovalExpires,
		Reconcile: host.ReconcilePolicy{Schedule: p.Schedule, Jitter: p.Jitter, Delta: p.Delta, FullEvery: p.FullEvery, Commit: p.Commit, Process: p.Process,
			Missing: p.Missing, Drift: p.Drift, Orphaned: p.Orphaned, Unassigned: p.Unassigned,
			Thresholds: host.Thresholds{Deactivate: threshold(t.Deactivate), Delete: threshold(t.Delete), Found: threshold(t.Found), Smallest: int64(t.Smallest)}},
	}
	if app.Approval != "none" {
		c.ApprovalRequired = app.Approval
	}
	for _, text := range app.Fallback {
		if of, to, err := config.ParseFallback(text); err == nil { // checked when it was loaded
			if c.Fallback == nil {
				c.Fallback = map[host.Operation]host.Operation{}
			}
			c.Fallback[host.Operation(of)] = host.Operation(to)
		}
	}
	return c
}

func words[T ~string](list []string) []T {
	var out []T
	for _, w := range list {
		out = append(out, T(w))
	}
	return out
}

func threshold(t config.Threshold) host.Threshold {
	count, percent, ok := t.Parse()
	return host.Threshold{Set: ok && t != "", Share: strings.HasSuffix(string(t), "%"), Count: count, Percent: percent}
}

// targetLimits are the bounds of what stands behind an app: its credential's,
// and its own.
func (d *daemon) targetLimits(app *host.UserProvisioningConfig) []provision.TargetLimits {
	cfg := d.current.Load().config
	var list []provision.TargetLimits
	if why := d.catalogue.OutOf(app.Connector); why != "" {
		list = append(list, provision.TargetLimits{Name: host.ConnectorTarget(app.Connector), Apps: []string{app.AppName}, Held: why})
	}
	for _, c := range cfg.Credentials {
		if c.Name != app.NamedCredentialId {
			continue
		}
		in := signInOf(c)
		l := provision.TargetLimits{Authorized: in.Interactive(), PerUser: in.PerUser, Name: c.Name, PerSecond: c.Limits.Rate.PerSecond(), Concurrency: c.Limits.Concurrency,
			Failures: c.Limits.Failures, Rest: c.Limits.Rest}
		for _, a := range cfg.Apps {
			if a.Credential == c.Name {
				l.Apps = append(l.Apps, a.Name)
			}
		}
		list = append(list, l)
	}
	for _, a := range cfg.Apps {
		if a.Name == app.AppName && (a.Limits.Rate != "" || a.Limits.Concurrency > 0) {
			list = append(list, provision.TargetLimits{Name: provision.AppTarget(a.Name), Apps: []string{a.Name},
				PerSecond: a.Limits.Rate.PerSecond(), Concurrency: a.Limits.Concurrency})
		}
	}
	return list
}

// namedCredentials are the configured credentials.
func namedCredentials(list []config.Credential, proxy *config.Proxy) []callout.Credential {
	out := make([]callout.Credential, len(list))
	for i, c := range list {
		out[i] = callout.Credential{
			Name: c.Name, Endpoint: c.Endpoint, SignIn: signInOf(c), Timeout: c.Timeout, MaxResponseBytes: int64(c.Limits.MaxResponse),
			TLS: callout.TLS{CAFile: c.TLS.CA, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, Pins: c.TLS.Pins}, Networks: c.Networks, Methods: c.Methods, Probe: c.Probe,
			Timeouts: callout.Timeouts(c.Timeouts), Proxy: proxyOf(c, proxy), NoRetries: !c.Limits.RetryReads,
			MergeHeaders: c.MergeFields.Headers, MergeBody: c.MergeFields.Body,
		}
		if who := c.TLS.Identity; who != nil {
			out[i].TLS.Identity = keyOf("tls.identity", config.Key{Secret: who.Secret, Password: who.Password})
		}
	}
	return out
}

// proxyOf is the proxy of a credential: its own, or that for all.
func proxyOf(c config.Credential, all *config.Proxy) callout.Proxy {
	p, binding := c.Proxy, signin.Binding(c.Name, "proxy.password")
	if p == nil {
		p, binding = all, "proxy.password"
	}
	if p == nil {
		return callout.Proxy{}
	}
	return callout.Proxy{URL: p.URL, Username: p.Username, Password: secretRef(p.Password), Binding: binding, Except: p.Except}
}

// newSealer opens sealed secrets; nil where the configuration names no
// identity.
func newSealer(s config.Secrets) (*secret.Sealer, error) {
	identity := ""
	switch {
	case s.IdentityFile != "":
		b, err := os.ReadFile(s.IdentityFile)
		if err != nil {
			return nil, &host.Error{Code: host.InvalidInput, Field: "secrets.identity_file", Message: err.Error(), Err: err}
		}
		identity = strings.TrimSpace(string(b))
	case s.IdentityEnv != "":
		if identity = os.Getenv(s.IdentityEnv); identity == "" {
			return nil, &host.Error{Code: host.InvalidInput, Field: "secrets.identity_env", Message: fmt.Sprintf("the environment variable %s is not set", s.IdentityEnv)}
		}
	case len(s.IdentityCommand) > 0:
		v, err := secret.Command(context.Background(), s.IdentityCommand)
		if err != nil {
			return nil, &host.Error{Code: host.InvalidInput, Field: "secrets.identity_command", Message: err.Error(), Err: err}
		}
		identity = v.Reveal()
	case s.IdentitySystemd != "":
		b, err := readSystemdCredential(s.IdentitySystemd)
		if err != nil {
			return nil, &host.Error{Code: host.InvalidInput, Field: "secrets.identity_systemd", Message: err.Error(), Err: err}
		}
		identity = strings.TrimSpace(string(b))
	default:
		return nil, nil
	}
	return secret.NewSealer(identity)
}

// findPlugin returns the plugin of a configuration that a name, a source or a
// path means; nil where it has none.
func findPlugin(cfg *config.Config, source string) *config.Plugin {
	for _, p := range cfg.Plugins {
		abs, err := filepath.Abs(source)
		if p.Name == source || p.Source == source || err == nil && p.Path != "" && p.Path == abs {
			return &p
		}
	}
	return nil
}

// openTrialEgress is the way out for one call over the named credential of a
// configuration.
func openTrialEgress(cfg *config.Config, credential string) (egress, error) {
	var names []string
	var chosen []config.Credential
	for _, c := range cfg.Credentials {
		names = append(names, c.Name)
		if c.Name == credential {
			chosen = append(chosen, c)
		}
	}
	if credential != "" && len(chosen) == 0 {
		return egress{}, host.Errorf(host.InvalidInput, "%s has no credential named %q; it has %s", cfg.File, credential, cmp.Or(strings.Join(names, ", "), "none"))
	}
	sealer, err := newSealer(cfg.Secrets)
	if err != nil {
		return egress{}, err
	}
	out := egress{Egress: callout.New(callout.Options{Sealer: sealer})}
	if err := out.Apply(namedCredentials(chosen, cfg.Proxy)); err != nil {
		out.Close()
		return egress{}, err
	}
	return out, nil
}

// configuredPlugins are the plugins of a configuration, for a listing.
func configuredPlugins(file string) ([]*listedPlugin, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	store := newArtifacts(artifactCache(cfg), nil)
	var list []*listedPlugin
	for _, p := range cfg.Plugins {
		list = append(list, &listedPlugin{Name: p.Name, Source: p.Source, get: func(ctx context.Context) (artifact.Artifact, error) {
			a, _, err := configuredArtifact(ctx, store, cfg, p)
			return a, err
		}})
	}
	return list, nil
}

// isProblems tells whether err is what is wrong with a configuration: lines
// that stand for themselves.
func isProblems(err error) bool {
	var p *config.Problems
	return errors.As(err, &p)
}
