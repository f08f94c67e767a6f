package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
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
	// Serving is how it does in the daemon that runs; nil where none does.
	Serving *api.Plugin `json:"serving,omitempty"`

	builtin bool // and not of the configuration
	get     func(context.Context) (artifact.Artifact, error)
}

func newPluginList() *cobra.Command {
	var output, file string
	cmd := &cobra.Command{
		Use: "list", Short: "List the built-in connectors and those of a configuration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			list := []*listedPlugin{}
			for _, name := range plugins.Names() {
				source := artifact.BuiltinPrefix + name
				list = append(list, &listedPlugin{Name: name, Source: source, builtin: true, get: func(ctx context.Context) (artifact.Artifact, error) {
					return trialArtifacts().Get(ctx, source, artifact.Options{})
				}})
			}
			if file != "" {
				more, err := configuredPlugins(file)
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
			cols := []string{"PLUGIN", "SOURCE", "VERSION", "VENDOR", "SIZE", "TRUST", "OPERATIONS"}
			serves, err := askServing(cmd.Context(), file, list)
			if err != nil {
				return err
			}
			if serves {
				cols = append(cols, "SERVING")
			}
			rows := make([][]string, len(list))
			for i, p := range list {
				rows[i] = []string{p.Name, p.Source, p.Version, p.Vendor, bytesText(int64(p.Bytes)), p.Trust, operationNames(p.Operations)}
				if p.Error != "" {
					rows[i] = []string{p.Name, p.Source, "", "", "", "", p.Error}
				}
				if serves {
					rows[i] = append(rows[i], servingText(p.Serving))
				}
			}
			if err := term.Write(cmd.OutOrStdout(), output, list, cols, rows); err != nil {
				return err
			}
			if len(failed) > 0 {
				return host.Errorf(host.CodeOf(failed[0]), "%d of %d connectors can't be loaded; the first: %w", len(failed), len(list), failed[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration whose connectors are listed too")
	addFormatFlag(cmd, &output)
	return cmd
}

// askServing asks the daemon of a configuration how its connectors do, and tells
// whether one runs.
func askServing(ctx context.Context, file string, list []*listedPlugin) (bool, error) {
	if file == "" {
		return false, nil
	}
	c, ok := socketClient(config.Socket(file))
	if !ok {
		return false, nil
	}
	defer func() { _ = c.close(ctx) }() // it has answered
	var serving []api.Plugin
	if err := c.do(ctx, http.MethodGet, "/api/v1/plugins", nil, nil, &serving); err != nil {
		return false, err
	}
	for _, p := range list {
		for _, s := range serving {
			if p.Name == s.Name && !p.builtin {
				p.Serving = &s
			}
		}
	}
	return true, nil
}

func servingText(p *api.Plugin) string {
	if p == nil {
		return ""
	}
	text := p.State
	if p.Version != "" {
		text += " " + p.Version
	}
	if note := pluginNote(*p); note != "" {
		text += "; " + note
	}
	return text
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
