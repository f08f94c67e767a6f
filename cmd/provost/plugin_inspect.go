package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

func newPluginInspect() *cobra.Command {
	var output, configuration string
	cmd := &cobra.Command{
		Use:   "inspect SOURCE",
		Short: "Show what a connector says of itself, what it wants, and who signed it",
		Long: `Shows a connector: a .wasm file, a folder, a manifest, builtin:NAME, https://… or
oci://…, and with --config the name of one of its plugins. With --config its
signers are known.`,
		Example: "  provost plugin inspect acme.wasm\n  provost plugin inspect oci://registry.example.com/connectors/acme:1.4 --config provost.yaml\n  provost plugin inspect builtin:scim -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			a, err := inspectedArtifact(cmd.Context(), args[0], configuration)
			if err != nil {
				return err
			}
			return withSandbox(cmd.Context(), func(sb *sandbox.Runtime) error {
				found, err := connector.Inspect(cmd.Context(), sb, a.Name, a.Wasm)
				if err == nil {
					err = a.Signature.Agrees(found.Description.Name, found.Description.Version)
				}
				if err != nil {
					return err
				}
				if output != term.FormatTable {
					return term.Write(cmd.OutOrStdout(), output, inspection{Description: found.Description,
						File: file{Source: args[0], Resolved: a.Resolved, SHA256: found.Digest, Bytes: found.Size, Exports: found.Exports,
							Trust: trustText(a), Signature: signatureDocument(a.Signature), Unverified: a.Unverified, Stale: a.Stale}, Manifest: wishesDocument(a.Wishes)}, nil, nil)
				}
				return writeInspection(cmd.OutOrStdout(), a, found)
			})
		},
	}
	cmd.Flags().StringVar(&configuration, "config", "", "configuration whose signers are known, and whose plugins can be named")
	addFormatFlag(cmd, &output)
	return cmd
}

// inspectedArtifact reads a connector for people, whether it is trusted or not:
// that is one of the things to see.
func inspectedArtifact(ctx context.Context, source, file string) (artifact.Artifact, error) {
	if file == "" {
		return trialArtifacts().Get(ctx, source, artifact.Options{})
	}
	cfg, err := config.Load(file)
	if err != nil {
		return artifact.Artifact{}, err
	}
	store := newArtifacts(artifactCache(cfg), nil)
	signers, err := knownSigners(cfg)
	if err != nil {
		return artifact.Artifact{}, err
	}
	if p := findPlugin(cfg, source); p != nil {
		return store.Get(ctx, cmp.Or(p.Path, p.Source), artifact.Options{Digest: p.Digest, Signers: signers, MaxBytes: int64(p.Limits.Module)})
	}
	return store.Get(ctx, source, artifact.Options{Signers: signers})
}

// inspection is the document of -o json.
type inspection struct {
	pdk.Description
	File file `json:"file"`
	// Manifest is what came with it and asks for something, null for nothing.
	Manifest *wishes `json:"manifest"`
}

type file struct {
	Source     string     `json:"source"`
	Resolved   string     `json:"resolved,omitempty"`
	SHA256     string     `json:"sha256"`
	Bytes      int        `json:"bytes"`
	Exports    []string   `json:"exports"`
	Trust      string     `json:"trust"`
	Signature  *signature `json:"signature"`
	Unverified string     `json:"unverified,omitempty"`
	Stale      string     `json:"stale,omitempty"`
}

// signature is who signed a connector and as what.
type signature struct {
	Signer   string `json:"signer"`
	KeyID    string `json:"keyId"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	SignedAt string `json:"signedAt,omitempty"`
}

func signatureDocument(s *artifact.Signature) *signature {
	if s == nil {
		return nil
	}
	d := &signature{Signer: s.Signer, KeyID: s.KeyID, Name: s.Name, Version: s.Version}
	if !s.SignedAt.IsZero() {
		d.SignedAt = s.SignedAt.Format(time.RFC3339)
	}
	return d
}

// wishes is what a manifest asks for.
type wishes struct {
	Hosts             []string          `json:"hosts,omitempty"`
	Config            map[string]string `json:"config,omitempty"`
	MemoryBytes       int64             `json:"memoryBytes,omitempty"`
	TimeMilliseconds  int64             `json:"timeMilliseconds,omitempty"`
	HTTPResponseBytes int64             `json:"httpResponseBytes,omitempty"`
	VarBytes          int64             `json:"varBytes,omitempty"`
}

func wishesDocument(w artifact.Wishes) *wishes {
	if w.IsZero() {
		return nil
	}
	return &wishes{Hosts: w.Hosts, Config: w.Config, MemoryBytes: w.MemoryBytes, TimeMilliseconds: w.Time.Milliseconds(),
		HTTPResponseBytes: w.HTTPResponseBytes, VarBytes: w.VarBytes}
}

// trustText says in a word why a connector is trusted, or that it is not.
func trustText(a artifact.Artifact) string {
	switch {
	case a.Builtin:
		return "built in"
	case a.Signature != nil:
		return a.Signature.Signer
	default:
		return "unsigned"
	}
}

func writeInspection(w io.Writer, a artifact.Artifact, found connector.Inspection) error {
	d := found.Description
	title := d.Name + " " + d.Version
	if d.Vendor != "" {
		title += " by " + d.Vendor
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-36s contract %d   %s   sha256 %s\n", title, d.ContractVersion, bytesText(int64(found.Size)), found.Digest[:min(12, len(found.Digest))])
	if d.Summary != "" {
		fmt.Fprintf(&b, "%s\n", d.Summary)
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, value)
		}
	}
	ops := make([]string, 0, len(d.Operations))
	for _, op := range d.Operations {
		if op != pdk.OpDescribe {
			ops = append(ops, string(op))
		}
	}
	switch s := a.Signature; {
	case a.Builtin:
		line("signed", "built in")
	case s != nil:
		line("signed", fmt.Sprintf("by %s (trusted), key %s, as %s %s", s.Signer, s.KeyID, s.Name, s.Version))
	default:
		line("signed", "no: it "+a.Unverified)
	}
	line("from", a.Resolved)
	line("stale", a.Stale)
	line("operations", strings.Join(ops, " "))
	reach := connector.ReachOf(connector.Asking(d, wishedReach(a.Wishes)))
	line("wants", "named credential: "+protocols(d.CredentialProtocols)+" · "+beyondText(reach))
	line("manifest", wishesText(a.Wishes))
	line("settings", settingNames(d.SettingsSchema))
	line("inputs", parameters(d.Inputs))
	line("outputs", parameters(d.Outputs))
	line("attributes", attributes(d.Attributes))
	for i, rule := range d.DefaultMapping {
		name := ""
		if i == 0 {
			name = "mapping"
		}
		fmt.Fprintf(&b, "%-12s %s\n", name, rule)
	}
	for i, rule := range d.DefaultLink {
		name := ""
		if i == 0 {
			name = "link"
		}
		fmt.Fprintf(&b, "%-12s %s\n", name, rule)
	}
	if len(d.Attributes) > 0 || strings.Contains(b.String(), "*") {
		fmt.Fprintln(&b, "             * required, ! unique, (r) read only")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// beyondText is what is asked for besides operations and the credential.
func beyondText(r host.Reach) string {
	r.Operations, r.Protocols = nil, nil
	if r.Empty() {
		return "no other hosts"
	}
	return r.String() + " (needs a grant)"
}

// wishesText is how a manifest bounds and configures its module.
func wishesText(w artifact.Wishes) string {
	var parts []string
	if w.MemoryBytes > 0 {
		parts = append(parts, bytesText(w.MemoryBytes)+" of memory")
	}
	if w.Time > 0 {
		parts = append(parts, w.Time.String()+" a call")
	}
	if len(w.Config) > 0 {
		parts = append(parts, "config "+strings.Join(sortedKeys(w.Config), ", "))
	}
	return strings.Join(parts, " · ")
}

// protocols says what sign-ins the target takes.
func protocols(list []string) string {
	if len(list) == 0 {
		return "any sign-in"
	}
	names := map[string]string{"basic": "Basic", "api_key": "API key", "oauth2_client_credentials": "OAuth 2.0"}
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = p
		if n, ok := names[p]; ok {
			parts[i] = n
		}
	}
	return strings.Join(parts, ", ")
}

// settingNames are the properties of the settings' schema.
func settingNames(schema map[string]any) string {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	var parts []string
	for _, name := range sortedKeys(properties) {
		part := name
		for _, r := range required {
			if r == name {
				part += "*"
			}
		}
		if p, ok := properties[name].(map[string]any); ok {
			if t, ok := p["type"].(string); ok {
				part += " (" + t + ")"
			}
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func parameters(list []pdk.Parameter) string {
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = p.Name
		if p.Required {
			parts[i] += "*"
		}
		if p.Type != "" {
			parts[i] += " (" + p.Type + ")"
		}
	}
	return strings.Join(parts, ", ")
}

func attributes(list []pdk.Attribute) string {
	parts := make([]string, len(list))
	for i, a := range list {
		parts[i] = a.Name
		if a.Required {
			parts[i] += "*"
		}
		if a.Unique {
			parts[i] += "!"
		}
		if a.ReadOnly {
			parts[i] += "(r)"
		}
	}
	return strings.Join(parts, " ")
}
