package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// Spec is a connector to load.
type Spec struct {
	// Name is what the configuration calls it; Source where it comes from, for
	// people.
	Name, Source string
	Wasm         []byte
	// Digest, if set, is the SHA-256 that Wasm must have, in hex, with or
	// without "sha256:" before it.
	Digest string
	// Settings are the operator's, checked against the connector's schema and
	// handed to every call that brings none of its own.
	Settings map[string]any
	Limits   sandbox.Limits
	// Hosts may be reached besides the credential's endpoint.
	Hosts []string
	// Sum is the SHA-256 of Wasm in hex, where it is known: with it a build that
	// serves already is not compiled again.
	Sum string
	// Signer is whose signature counted, "" for none.
	Signer string
	// SignedAs is the name and version that were signed, such as "acme 1.4.0": what
	// describes itself otherwise is refused. "" where nothing was signed.
	SignedAs string
	// Granted is what the connector may do; nil is all that it says. Hosts and
	// Limits are what follows of it.
	Granted *host.Reach
	// Incompatible: the build may lack what the one before it could.
	Incompatible bool
	Rollout      Rollout
	Quarantine   Quarantine
	// Wants is what its manifest asks for, besides what it says of itself: hosts and
	// limits.
	Wants host.Reach
	// Config is what the connector reads with config_get.
	Config map[string]string
}

// Inspection is what can be known of a module without calling a target.
type Inspection struct {
	Description pdk.Description
	Exports     []string
	Digest      string
	Size        int
}

// Inspect loads a module, describes it, checks what a load checks except the
// settings, and closes it.
func Inspect(ctx context.Context, sb *sandbox.Runtime, name string, wasm []byte) (_ Inspection, err error) {
	m, d, err := compile(ctx, sb, Spec{Name: name, Wasm: wasm})
	if err != nil {
		return Inspection{}, err
	}
	defer func() {
		if closeErr := m.Close(ctx); err == nil && closeErr != nil {
			err = asHostError(closeErr, name, pdk.OpDescribe, nil)
		}
	}()
	if _, err := compileSettings(name, d); err != nil {
		return Inspection{}, err
	}
	return Inspection{Description: d, Exports: m.Exports(), Digest: m.Digest(), Size: m.Size()}, nil
}

// open makes a connector that is ready for calls.
func (c *Catalogue) open(ctx context.Context, s Spec) (opened *Connector, err error) {
	began := c.options.Now()
	defer func() {
		if c.options.Loaded == nil {
			return
		}
		var compiling time.Duration
		if err == nil {
			compiling = opened.module.CompileTime()
		}
		c.options.Loaded(s.Name, c.options.Now().Sub(began), compiling, err)
	}()
	m, d, err := compile(ctx, c.options.Sandbox, s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = m.Close(ctx) // the first error is the one to tell
		}
	}()
	schema, err := compileSettings(s.Name, d)
	if err != nil {
		return nil, err
	}
	k := &Connector{catalogue: c, name: s.Name, module: m, description: d, schema: schema, loadedAt: c.options.Now(), gone: make(chan struct{})}
	k.spec = s
	k.spec.Wasm = nil
	if err := k.CheckSettings(s.Settings); err != nil {
		return nil, err
	}
	return k, nil
}

// compile loads a module and has it describe itself.
func compile(ctx context.Context, sb *sandbox.Runtime, s Spec) (_ *sandbox.Module, d pdk.Description, err error) {
	m, err := sb.Load(ctx, s.Name, s.Wasm, s.Limits)
	if err != nil {
		return nil, d, asHostError(err, s.Name, "", nil)
	}
	defer func() {
		if err != nil {
			_ = m.Close(ctx) // the first error is the one to tell
		}
	}()
	if want := strings.TrimPrefix(s.Digest, "sha256:"); want != "" && !strings.EqualFold(want, m.Digest()) {
		return nil, d, host.Errorf(host.InvalidInput, "connector %s: its SHA-256 is %s, but %s is demanded: it is not the file that was meant", s.Name, m.Digest(), want)
	}
	if d, err = describe(ctx, m, s.Name, s.Config); err != nil {
		return nil, d, err
	}
	if is := d.Name + " " + d.Version; s.SignedAs != "" && s.SignedAs != is {
		return nil, d, host.Errorf(host.PermissionDenied, "connector %s: it describes itself as %s, but %s signed it as %s: it is not what was meant to be signed; ask for another signature",
			s.Name, is, s.Signer, s.SignedAs)
	}
	return m, Asking(d, s.Wants), nil
}

// Asking is what a connector says of itself, with what its manifest asks for.
func Asking(d pdk.Description, wants host.Reach) pdk.Description {
	all := host.Reach{Hosts: d.Hosts}
	if l := d.Limits; l != nil {
		all.MemoryMiB, all.TimeSeconds, all.HTTPCalls = l.MemoryMiB, l.TimeSeconds, l.HTTPCalls
	}
	all = all.With(host.Reach{Hosts: wants.Hosts, MemoryMiB: wants.MemoryMiB, TimeSeconds: wants.TimeSeconds, HTTPCalls: wants.HTTPCalls})
	if d.Hosts = all.Hosts; all.MemoryMiB+all.TimeSeconds+all.HTTPCalls > 0 {
		d.Limits = &pdk.LimitHints{MemoryMiB: all.MemoryMiB, TimeSeconds: all.TimeSeconds, HTTPCalls: all.HTTPCalls}
	}
	return d
}

func describe(ctx context.Context, m *sandbox.Module, name string, config map[string]string) (d pdk.Description, err error) {
	if !slices.Contains(m.Exports(), string(pdk.OpDescribe)) {
		return d, host.Errorf(host.InvalidInput, "connector %s: it does not export describe; it exports %s", name, words(m.Exports()))
	}
	asked, logs := "", []string(nil)
	out, _, err := m.Call(ctx, string(pdk.OpDescribe), nil, sandbox.Env{
		Config: config,
		HTTP: func(_ context.Context, r *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			asked = r.Method + " " + r.URL
			return refusal(pdk.Errorf(pdk.Unsupported, "describe runs without HTTP"))
		},
		Log: func(level slog.Level, line string) {
			if len(logs) < maxLogLines {
				logs = append(logs, logLine(level, line))
			}
		},
	})
	if asked != "" {
		return d, host.Errorf(host.ConnectorFault, "connector %s: describe asked for %s; it must be static and run without HTTP (discover may ask the target)", name, asked)
	}
	if e := new(sandbox.Error); errors.As(err, &e) && e.Kind == sandbox.KindGuest {
		return d, host.Errorf(host.ConnectorFault, "connector %s: describe failed: %s", name, pdk.DecodeError(e.Payload))
	}
	if err != nil {
		return d, asHostError(err, name, pdk.OpDescribe, logs)
	}
	d, err = pdk.DecodeDescription(out)
	if err != nil {
		return d, host.Errorf(host.ConnectorFault, "connector %s: describe: %s", name, textOf(err))
	}
	return d, checkDescription(name, d, m.Exports())
}

var connectorName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func checkDescription(name string, d pdk.Description, exports []string) error {
	if d.ContractVersion < 1 || d.ContractVersion > pdk.ContractVersion {
		return host.Errorf(host.InvalidInput, "connector %s: %s %s wants version %d of the contract, this host speaks 1 to %d; take another build of it or a newer provost",
			name, d.Name, d.Version, d.ContractVersion, pdk.ContractVersion)
	}
	if !connectorName.MatchString(d.Name) {
		return host.Errorf(host.ConnectorFault, "connector %s: describe: $.name: %q must be lower-case letters, digits and single hyphens", name, d.Name)
	}
	var lacking []string
	for _, op := range d.Operations {
		if !slices.Contains(exports, string(op)) {
			lacking = append(lacking, string(op))
		}
	}
	if len(lacking) > 0 {
		return host.Errorf(host.InvalidInput, "connector %s: describe lists operations that are not exported: %s (listed: %s; exported: %s)",
			name, words(lacking), words(d.Operations), words(exports))
	}
	return nil
}

// compileSettings turns a connector's settingsSchema into a validator; nil
// where it has none. A schema can't refer to a file or an address.
func compileSettings(name string, d pdk.Description) (*jsonschema.Schema, error) {
	if len(d.SettingsSchema) == 0 {
		return nil, nil
	}
	bad := func(err error) error {
		return host.Errorf(host.ConnectorFault, "connector %s: describe: $.settingsSchema is no usable JSON Schema: %s", name, oneLine(err.Error()))
	}
	doc, err := plainJSON(d.SettingsSchema)
	if err != nil {
		return nil, bad(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if err := c.AddResource("provost:settings", doc); err != nil {
		return nil, bad(err)
	}
	schema, err := c.Compile("provost:settings")
	if err != nil {
		return nil, bad(err)
	}
	return schema, nil
}

// noLoader keeps a connector's schema from reading what is outside of it.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema must not refer to %s: %w", url, fs.ErrPermission)
}

// CheckSettings tells whether the connector can take these settings. The error
// names each value at fault.
func (k *Connector) CheckSettings(settings map[string]any) error {
	if k.schema == nil {
		if len(settings) > 0 {
			return host.Errorf(host.InvalidInput, "connector %s: %s has no settings, but some are given", k.name, k.described())
		}
		return nil
	}
	if settings == nil {
		settings = map[string]any{}
	}
	doc, err := plainJSON(settings)
	if err == nil {
		err = k.schema.Validate(doc)
	}
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return host.Errorf(host.InvalidInput, "connector %s: settings can't be read: %w", k.name, err)
	}
	var problems []string
	for _, unit := range invalid.BasicOutput().Errors {
		if unit.Error == nil {
			continue
		}
		at := "settings" + strings.ReplaceAll(unit.InstanceLocation, "/", ".")
		if line := at + ": " + unit.Error.String(); !slices.Contains(problems, line) {
			problems = append(problems, line)
		}
	}
	if len(problems) == 0 {
		problems = []string{oneLine(invalid.Error())}
	}
	return host.Errorf(host.InvalidInput, "connector %s: %s can't take its settings: %s", k.name, k.described(), strings.Join(problems, "; "))
}

// plainJSON is v as the schema validator wants it.
func plainJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

func words[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	parts := make([]string, len(list))
	for i, w := range list {
		parts[i] = string(w)
	}
	return strings.Join(parts, ", ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
