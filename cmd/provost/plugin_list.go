package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
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
	Error      string          `json:"error,omitempty"`

	plugin *config.Plugin // nil for what is built in and not configured
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
				list = append(list, &listedPlugin{Name: name, Source: builtinPrefix + name})
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
				rows[i] = []string{p.Name, p.Source, p.Version, p.Vendor, bytesText(int64(p.Bytes)), operationNames(p.Operations)}
				if p.Error != "" {
					rows[i] = []string{p.Name, p.Source, "", "", "", p.Error}
				}
			}
			if err := term.Write(cmd.OutOrStdout(), output, list, []string{"PLUGIN", "SOURCE", "VERSION", "VENDOR", "SIZE", "OPERATIONS"}, rows); err != nil {
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

func (p *listedPlugin) read() ([]byte, error) {
	if p.plugin != nil {
		return readPlugin(*p.plugin)
	}
	_, wasm, err := readConnector(p.Source, "")
	return wasm, err
}

func (p *listedPlugin) inspect(cmd *cobra.Command, sb *sandbox.Runtime) error {
	wasm, err := p.read()
	if err == nil {
		var found connector.Inspection
		if found, err = connector.Inspect(cmd.Context(), sb, p.Name, wasm); err == nil {
			d := found.Description
			p.Version, p.Vendor, p.Operations, p.SHA256, p.Bytes = d.Version, d.Vendor, d.Operations, found.Digest, found.Size
			return nil
		}
	}
	p.Error = strings.TrimSpace(err.Error())
	return err
}
