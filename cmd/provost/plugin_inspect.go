package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

func newPluginInspect() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Show what a connector says of itself",
		Example: "  provost plugin inspect acme.wasm\n  provost plugin inspect builtin:scim -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			name, wasm, err := readConnector(args[0], "")
			if err != nil {
				return err
			}
			return withSandbox(cmd.Context(), func(sb *sandbox.Runtime) error {
				found, err := connector.Inspect(cmd.Context(), sb, name, wasm)
				if err != nil {
					return err
				}
				if output != term.FormatTable {
					return term.Write(cmd.OutOrStdout(), output, inspection{Description: found.Description,
						File: file{Source: args[0], SHA256: found.Digest, Bytes: found.Size, Exports: found.Exports}}, nil, nil)
				}
				return writeInspection(cmd.OutOrStdout(), found)
			})
		},
	}
	addFormatFlag(cmd, &output)
	return cmd
}

// inspection is the document of -o json.
type inspection struct {
	pdk.Description
	File file `json:"file"`
}

type file struct {
	Source  string   `json:"source"`
	SHA256  string   `json:"sha256"`
	Bytes   int      `json:"bytes"`
	Exports []string `json:"exports"`
}

func writeInspection(w io.Writer, found connector.Inspection) error {
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
	line("operations", strings.Join(ops, " "))
	line("wants", "named credential: "+protocols(d.CredentialProtocols))
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
