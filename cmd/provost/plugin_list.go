package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins"
)

// listedPlugin is one line of plugin list.
type listedPlugin struct {
	Name       string          `json:"name"`
	Source     string          `json:"source"`
	Version    string          `json:"version,omitempty"`
	Vendor     string          `json:"vendor,omitempty"`
	SHA256     string          `json:"sha256,omitempty"`
	Bytes      int             `json:"bytes,omitempty"`
	Operations []pdk.Operation `json:"operations,omitempty"`
	// Trust is who signed it, "built in", or "unsigned".
	Trust string `json:"trust,omitempty"`
	// Resolved is the address with the digest that it stood for.
	Resolved string `json:"resolved,omitempty"`
	// Stale is why an earlier version from the cache is used.
	Stale string `json:"stale,omitempty"`
	Error string `json:"error,omitempty"`

	get func(context.Context) (artifact.Artifact, error)
}

func newPluginList() *cobra.Command {
	var output, config string
	cmd := &cobra.Command{
		Use: "list", Short: "List the built-in connectors and those of a configuration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			list := []*listedPlugin{}
			for _, name := range plugins.Names() {
				source := artifact.BuiltinPrefix + name
				list = append(list, &listedPlugin{Name: name, Source: source, get: func(ctx context.Context) (artifact.Artifact, error) {
					return trialArtifacts().Get(ctx, source, artifact.Options{})
				}})
			}
			if config != "" {
				more, err := configuredPlugins(config)
				if err != nil {
					return err
				}
				list = append(list, more...)
			}
			var failed []error
			err := withSandbox(cmd.Context(), func(sb *sandbox.Runtime) error {
				for _, p := range list {
					if err := p.inspect(cmd, sb); err != nil {
						failed = append(failed, err)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			rows := make([][]string, len(list))
			for i, p := range list {
				rows[i] = []string{p.Name, p.Source, p.Version, p.Vendor, bytesText(int64(p.Bytes)), p.Trust, operationNames(p.Operations)}
				if p.Error != "" {
					rows[i] = []string{p.Name, p.Source, "", "", "", "", p.Error}
				}
			}
			if err := term.Write(cmd.OutOrStdout(), output, list, []string{"PLUGIN", "SOURCE", "VERSION", "VENDOR", "SIZE", "TRUST", "OPERATIONS"}, rows); err != nil {
				return err
			}
			if len(failed) > 0 {
				return host.Errorf(host.CodeOf(failed[0]), "%d of %d connectors can't be loaded; the first: %w", len(failed), len(list), failed[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "configuration whose connectors are listed too")
	addFormatFlag(cmd, &output)
	return cmd
}

func (p *listedPlugin) inspect(cmd *cobra.Command, sb *sandbox.Runtime) error {
	a, err := p.get(cmd.Context())
	if err == nil {
		var found connector.Inspection
		found, err = connector.Inspect(cmd.Context(), sb, p.Name, a.Wasm)
		if err == nil {
			err = a.Signature.Agrees(found.Description.Name, found.Description.Version)
		}
		if err == nil {
			d := found.Description
			p.Trust, p.Resolved, p.Stale = trustText(a), a.Resolved, a.Stale
			p.Version, p.Vendor, p.Operations, p.SHA256, p.Bytes = d.Version, d.Vendor, d.Operations, found.Digest, found.Size
			return nil
		}
	}
	p.Error = strings.TrimSpace(err.Error())
	return err
}
