package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the daemon until it is interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file := configFile(file)
			if _, err := os.Stat(file); os.IsNotExist(err) {
				return missingConfig(file)
			}
			return serve(cmd.Context(), file, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file (default: PROVOST_CONFIG, else provost.yaml)")
	return cmd
}

func newConfigCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration file"}
	cmd.AddCommand(&cobra.Command{
		Use: "validate [FILE]", Short: "Check a configuration, its expressions and connectors; every mistake at once", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := configFile("")
			if len(args) == 1 {
				file = args[0]
			}
			if _, err := os.Stat(file); err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			cfg, err := config.Load(file, checkConnectors(cmd.Context()))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %d plugins, %d credentials, %d apps\n", file, len(cfg.Plugins), len(cfg.Credentials), len(cfg.Apps))
			return nil
		},
	}, &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration, for editors", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	})
	cmd.AddCommand(s.add(newConfigReload(s), newConfigDiff(s))...)
	return cmd
}

// checkConnectors loads every connector of a configuration as the daemon
// would, and compiles the rules of the apps against it.
func checkConnectors(ctx context.Context) config.Check {
	return func(cfg *config.Config) (problems []config.Problem) {
		store := newArtifacts(artifactCache(cfg), nil)
		err := withSandbox(ctx, func(sb *sandbox.Runtime) error {
			catalogue := connector.New(connector.Options{Sandbox: sb, Logger: slog.New(slog.DiscardHandler)})
			for _, p := range cfg.Plugins {
				_, spec, err := configuredArtifact(ctx, store, cfg, p)
				if err == nil {
					err = catalogue.Load(ctx, spec)
				}
				if err != nil {
					problems = append(problems, config.Problem{Key: "plugins." + p.Name + ".source", Message: err.Error()})
				}
			}
			for _, app := range cfg.Apps {
				c, release, err := catalogue.Acquire(ctx, app.Plugin, "")
				if err != nil {
					// Its plugin is a problem of its own; the rules are checked all the same.
					r, wrong := compileRules(app, tablesOf(cfg), cfg.Users.Attributes, pdk.Description{})
					problems = append(append(problems, wrong...), checkApprovalGroups(cfg, app, r)...)
					continue
				}
				r, wrong := compileRules(app, tablesOf(cfg), cfg.Users.Attributes, c.Describe())
				release()
				problems = append(append(problems, wrong...), checkApprovalGroups(cfg, app, r)...)
			}
			return catalogue.Close(ctx)
		})
		if err != nil {
			problems = append(problems, config.Problem{Message: err.Error()})
		}
		return append(append(problems, checkGrants(cfg)...), checkCredentials(cfg)...)
	}
}

// checkGrants looks at what connectors may reach besides their credentials.
func checkGrants(cfg *config.Config) (problems []config.Problem) {
	for _, p := range cfg.Plugins {
		for i, grant := range p.Hosts {
			if err := callout.CheckGrant(grant); err != nil {
				problems = append(problems, config.Problem{Key: fmt.Sprintf("plugins.%s.hosts[%d]", p.Name, i), Message: err.Error()})
			}
		}
	}
	return problems
}

// checkCredentials tries what is needed to use each credential, but for the
// secrets: those need only be there where the daemon runs.
func checkCredentials(cfg *config.Config) (problems []config.Problem) {
	for _, c := range namedCredentials(cfg.Credentials, cfg.Proxy) {
		if c.SignIn.Interactive() && !cfg.Secrets.IsSet() {
			problems = append(problems, config.Problem{Key: "credentials." + c.Name,
				Message: "what people authorize is stored sealed, and there is no key: set secrets.identity_file (provost credential identity makes one)"})
		}
		out := callout.New(callout.Options{Unread: true})
		for _, e := range unjoin(out.Apply([]callout.Credential{c})) {
			var known *host.Error
			if errors.As(e, &known) {
				problems = append(problems, config.Problem{Key: known.Field, Message: known.Message})
			}
		}
		out.Close()
	}
	return problems
}
