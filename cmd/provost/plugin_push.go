package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
)

// ociSource is a reference as a source: people leave the scheme out.
func ociSource(reference string) string {
	const scheme = "oci://"
	return scheme + strings.TrimPrefix(reference, scheme)
}

// pushedPlugin is the document of push -o json.
type pushedPlugin struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Source     string   `json:"source"`
	Digest     string   `json:"digest"`
	SHA256     string   `json:"sha256"`
	Signatures []string `json:"signatures"`
}

func newPluginPush() *cobra.Command {
	var output string
	var plain bool
	cmd := &cobra.Command{
		Use:   "push REFERENCE FILE",
		Short: "Bring a connector to a registry",
		Long: `Brings a connector (a .wasm file, a folder or a manifest) to an OCI registry: the
module, what it says of itself, what it is made of (CycloneDX) and what it asks
for. The signature beside the file is attached to it. The sign-in is docker's:
docker login, or the environment variable DOCKER_AUTH_CONFIG.`,
		Example: "  provost plugin push registry.example.com/connectors/acme:1.4 acme.wasm",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			store := trialArtifacts()
			a, err := store.Get(cmd.Context(), args[1], artifact.Options{})
			if err != nil {
				return err
			}
			found, err := inspect(cmd.Context(), a)
			if err != nil {
				return err
			}
			d := found.Description
			description, err := json.MarshalIndent(d, "", "  ")
			if err != nil {
				return host.Errorf(host.Internal, "the description can't be written as JSON: %w", err)
			}
			pushed, err := store.Push(cmd.Context(), args[0], artifact.Package{Artifact: a, Name: d.Name, Version: d.Version, Vendor: d.Vendor, Summary: d.Summary, Description: description}, plain)
			if err != nil {
				return err
			}
			if output != term.FormatTable {
				return term.Write(cmd.OutOrStdout(), output, pushedPlugin{d.Name, d.Version, pushed.Source, pushed.Digest, a.Digest, append([]string{}, pushed.Signatures...)}, nil, nil)
			}
			if len(pushed.Signatures) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s is not signed, and few will take it   -> provost plugin sign %s --key KEYFILE, and push again\n", args[1], args[1])
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s is pushed\n\nplugins:\n  - {name: %s, source: %q}\n", d.Name, d.Version, d.Name, pushed.Source)
			return err
		},
	}
	cmd.Flags().BoolVar(&plain, "plain-http", false, "speak to the registry without TLS; one on this machine always is")
	addFormatFlag(cmd, &output)
	return cmd
}

func newPluginPull() *cobra.Command {
	var to, file string
	var plain bool
	cmd := &cobra.Command{
		Use:   "pull REFERENCE [-o FILE]",
		Short: "Fetch a connector from a registry into a file",
		Long: `Fetches a connector from an OCI registry, with its signature, its list of parts
and, where it asks for anything, its manifest. With --config only what that
configuration trusts is taken. A configuration can also name oci://… itself.`,
		Example: "  provost plugin pull registry.example.com/connectors/acme:1.4\n  provost plugin pull registry.example.com/connectors/acme@sha256:… -o connectors/acme.wasm --config provost.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, store := artifact.Options{PlainHTTP: plain}, trialArtifacts()
			if file != "" {
				cfg, err := config.Load(file)
				if err != nil {
					return err
				}
				if o.Signers, err = knownSigners(cfg); err != nil {
					return err
				}
				o.RequireSignature = cfg.Trust.RequireSignature
			}
			a, err := store.Get(cmd.Context(), ociSource(args[0]), o)
			if err != nil {
				return err
			}
			if a.Stale != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s\n", oneLine(a.Stale))
			}
			dir, name := filepath.Split(to)
			if info, err := os.Stat(to); to != "" && err == nil && info.IsDir() {
				dir, name = to, ""
			}
			if name = strings.TrimSuffix(name, filepath.Ext(name)); name == "" {
				name = a.Name
			}
			files, err := a.Files(name)
			if err != nil {
				return err
			}
			for _, f := range files {
				if err := artifact.WriteFile(filepath.Join(dir, f.Name), f.Text); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", filepath.Join(dir, f.Name), bytesText(int64(len(f.Text))))
			}
			signed := "signed by " + trustText(a)
			if a.Signature == nil {
				signed = "not signed by anybody known: it " + a.Unverified
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s   %s\n", a.Resolved, signed)
			return err
		},
	}
	cmd.Flags().StringVarP(&to, "output", "o", "", "file or folder to write (default: NAME.wasm here)")
	cmd.Flags().StringVar(&file, "config", "", "configuration whose trust and signers count")
	cmd.Flags().BoolVar(&plain, "plain-http", false, "speak to the registry without TLS; one on this machine always is")
	return cmd
}
