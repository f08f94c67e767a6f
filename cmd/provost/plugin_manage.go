package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// The connectors of the daemon that runs, and what a person decides about them.

func newPluginStatus(s *session) *cobra.Command {
	cmd := newList(s, "Show the connectors that serve: their builds, how their calls go, what they wait for", "/api/v1/plugins",
		[]string{"PLUGIN", "STATE", "VERSION", "DIGEST", "SIGNER", "SINCE", "FAILING", "APPS", "NOTE"}, pluginRow)
	cmd.Use = "status"
	return cmd
}

func pluginRow(p api.Plugin) []string {
	since := ""
	if !p.LoadedAt.IsZero() {
		since = p.LoadedAt.Local().Format(time.DateTime)
	}
	failing := ""
	if p.Calls > 0 {
		failing = fmt.Sprintf("%.0f%% of %d", 100*p.Failing, p.Calls)
	}
	return []string{p.Name, p.State, p.Version, short(p.Digest), p.Signer, since, failing, strings.Join(p.Apps, ", "), pluginNote(p)}
}

// pluginNote is what a person must know of a connector, the gravest first.
func pluginNote(p api.Plugin) string {
	switch {
	case p.State == "quarantined":
		return p.Reason + "   -> provost plugin release " + p.Name
	case p.Waiting != nil:
		return fmt.Sprintf("%s waits for a grant of %s   -> provost plugin grant %s", p.Waiting.Version, p.Waiting.Wants, p.Name)
	case p.Next != nil:
		return fmt.Sprintf("%s gets %g%% since %s; %.0f%% of its %d calls failed", p.Next.Version, 100*p.Next.Share, p.Next.Since.Local().Format(time.TimeOnly), 100*p.Next.Failing, p.Next.Calls)
	case p.LastError != "":
		return "refused: " + p.LastError
	case p.Unconnected != "":
		return p.Unconnected
	case p.Stale != "":
		return p.Stale
	case !p.Wants.Empty():
		return fmt.Sprintf("is not granted %s   -> provost plugin grant %s", p.Wants, p.Name)
	}
	return p.Reason
}

func newPluginVersions(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "versions NAME", Short: "List the builds of a connector that have served", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []api.Build
				if err := c.do(ctx, http.MethodGet, pluginPath(args[0], "builds"), nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, b := range list {
					state := ""
					switch {
					case b.Serving:
						state = "serving"
					case b.TakenOut != "":
						state = "taken out: " + b.TakenOut
					case !b.Kept:
						state = "not kept here"
					}
					rows[i] = []string{b.Version, short(b.Digest), b.Signer, b.Source, b.By, b.FirstDate.Local().Format(time.DateTime), b.LastDate.Local().Format(time.DateTime), state}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"VERSION", "DIGEST", "SIGNER", "SOURCE", "BY", "FIRST", "LAST", "STATE"}, rows)
			})
		},
	}
}

func pluginPath(name, verb string) string {
	return "/api/v1/plugins/" + url.PathEscape(name) + "/" + verb
}

func newPluginRollback(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "rollback NAME [DIGEST]", Short: "Let an earlier build of a connector serve: the one before, or the one of a digest", Args: cobra.RangeArgs(1, 2),
		Long: "The build that serves is taken out: although its source still has it, it comes back only with\nprovost plugin release, or when the source has another one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]string{}
			if len(args) == 2 {
				in["digest"] = strings.TrimPrefix(strings.ToLower(args[1]), "sha256:")
			}
			return s.decidePlugin(cmd, args[0], "rollback", in, func(p api.Plugin) string {
				return fmt.Sprintf("%s %s (%s) serves", p.Name, p.Version, short(p.Digest))
			})
		},
	}
}

func newPluginRelease(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "release NAME", Short: "Let a build back that was rolled back or is in quarantine", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.decidePlugin(cmd, args[0], "release", nil, func(p api.Plugin) string {
				return fmt.Sprintf("%s %s (%s) serves; its requests go on", p.Name, p.Version, short(p.Digest))
			})
		},
	}
}

func newPluginGrant(s *session) *cobra.Command {
	var yes bool
	var reach host.Reach
	cmd := &cobra.Command{
		Use: "grant NAME", Short: "Let a connector do what it asks for", Args: cobra.ExactArgs(1),
		Long: "Shows what the connector, or the build of it that waits, asks for and may not do yet, and grants it.\nWith flags only what they name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var asked api.Plugin
			if err := s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []api.Plugin
				if err := c.do(ctx, http.MethodGet, "/api/v1/plugins", nil, nil, &list); err != nil {
					return err
				}
				for _, p := range list {
					if p.Name == args[0] {
						asked = p
						return nil
					}
				}
				return host.Errorf(host.NotFound, "no plugin %q is in the configuration   -> provost plugin status", args[0])
			}); err != nil {
				return err
			}
			wants, who := asked.Wants, asked.Name+" "+asked.Version
			if asked.Waiting != nil {
				wants, who = wants.With(asked.Waiting.Wants), asked.Name+" "+asked.Waiting.Version
			}
			if !reach.Empty() {
				wants = reach
			}
			if wants.Empty() {
				return host.Errorf(host.Conflict, "%s asks for nothing that it is not granted", who)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s asks for: %s\n", who, wants)
			if !yes {
				if err := confirm(cmd, "Grant it?"); err != nil {
					return err
				}
			}
			return s.decidePlugin(cmd, args[0], "grant", map[string]any{"reach": wants}, func(p api.Plugin) string {
				return fmt.Sprintf("granted; %s %s (%s) serves", p.Name, p.Version, short(p.Digest))
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().StringSliceVar(&reach.Operations, "operation", nil, "an operation")
	cmd.Flags().StringSliceVar(&reach.Protocols, "protocol", nil, "a sign-in")
	cmd.Flags().StringSliceVar(&reach.Hosts, "host", nil, "a host")
	return cmd
}

// confirm asks the person at the terminal.
func confirm(cmd *cobra.Command, question string) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !xterm.IsTerminal(int(in.Fd())) {
		return host.Errorf(host.Usage, "%s Say --yes where nobody can be asked", question)
	}
	fmt.Fprint(cmd.ErrOrStderr(), question+" [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return host.Errorf(host.Usage, "no answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return host.Errorf(host.Cancelled, "nothing was changed")
	}
	return nil
}

func (s *session) decidePlugin(cmd *cobra.Command, name, verb string, in any, done func(api.Plugin) string) error {
	return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
		var p api.Plugin
		if err := c.do(ctx, http.MethodPost, pluginPath(name, verb), nil, in, &p); err != nil {
			return err
		}
		if s.output != term.FormatTable {
			return term.Write(cmd.OutOrStdout(), s.output, p, nil, nil)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), done(p))
		return err
	})
}

func newConfigReload(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Let the daemon take the configuration and the connectors as they are in their files now", Args: cobra.NoArgs,
		Long: "The daemon sees changes by itself; this tells what came of it, and asks registries again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var got api.Reloaded
				if err := c.do(ctx, http.MethodPost, "/api/v1/config/reload", nil, nil, &got); err != nil {
					return err
				}
				if s.output != term.FormatTable {
					if err := term.Write(cmd.OutOrStdout(), s.output, got, nil, nil); err != nil {
						return err
					}
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "the configuration %s runs\n", short(got.Config))
				}
				var refused []error
				for _, name := range sortedKeys(got.Refused) {
					refused = append(refused, host.Errorf(host.InvalidInput, "plugins.%s is refused, and its build of before goes on: %s", name, got.Refused[name]))
				}
				return errors.Join(refused...)
			})
		},
	}
}

func newConfigDiff(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "diff", Short: "Show what a reload would change; nothing is changed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var got api.ConfigDiff
				if err := c.do(ctx, http.MethodPost, "/api/v1/config/diff", nil, nil, &got); err != nil {
					return err
				}
				if s.output != term.FormatTable {
					return term.Write(cmd.OutOrStdout(), s.output, got, nil, nil)
				}
				var rows [][]string
				for _, key := range got.Keys {
					what := "changes"
					switch {
					case strings.HasPrefix(key, "+"):
						what = "comes"
					case strings.HasPrefix(key, "-"):
						what = "goes"
					}
					rows = append(rows, []string{strings.TrimLeft(key, "+-"), what, "", "", ""})
				}
				for _, b := range got.Builds {
					note := b.Error
					if !b.Wants.Empty() {
						note = "it wants " + b.Wants.String()
					}
					rows = append(rows, []string{"plugins." + b.Connector, b.Effect, b.From, b.To, note})
				}
				out := cmd.OutOrStdout()
				if len(rows) == 0 && len(got.Problems) == 0 {
					_, err := fmt.Fprintln(out, "a reload would change nothing")
					return err
				}
				if len(rows) > 0 {
					if err := term.Table(out, []string{"WHAT", "EFFECT", "FROM", "TO", "NOTE"}, rows); err != nil {
						return err
					}
				}
				if len(got.Problems) > 0 {
					return host.Errorf(host.InvalidInput, "a reload would be refused:\n%s", strings.Join(got.Problems, "\n"))
				}
				return nil
			})
		},
	}
}
