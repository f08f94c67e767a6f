package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/mapping"
)

func newAppPreview(s *session) *cobra.Command {
	var file, scope string
	var trial api.RulesTrial
	cmd := &cobra.Command{
		Use: "preview APP", Short: "Show what other rules would do to everybody: whose values change, who comes in or leaves, who is linked otherwise", Args: cobra.ExactArgs(1),
		Long: `Compares the rules that an app has with others, for every user and every known
account. Nothing is stored and nothing is sent. The others come from a changed
configuration or a document of the app (-f), or from flags.`,
		Example: `  provost app preview acme -f provost.new.yaml
  provost app preview acme --rule 'title = upper(user.Title)' --scope 'user.Department == "Sales"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				if err := trialOf(cmd, s, file, args[0], &trial); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("scope") {
				trial.Scope = &scope
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var f host.Effect
				if err := c.do(ctx, http.MethodPost, "/api/v1/apps/"+url.PathEscape(args[0])+"/preview", nil, trial, &f); err != nil {
					return err
				}
				return writeEffect(cmd, s.output, f)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a changed configuration, or a document of the app as for app apply; - is standard input")
	cmd.Flags().StringArrayVar(&trial.Rules, "rule", nil, "a rule in place of the app's for the same attribute (may be repeated)")
	cmd.Flags().StringArrayVar(&trial.Link, "link", nil, "a link rule; those given are all there are (may be repeated)")
	cmd.Flags().StringVar(&scope, "scope", "", "another scope")
	cmd.Flags().IntVar(&trial.Examples, "limit", 100, "name at most so many users and accounts")
	return cmd
}

// wholeConfiguration tells a configuration from a document of one app.
var wholeConfiguration = regexp.MustCompile(`(?m)^("?apps"?|'apps')\s*:|^\s*\{\s*"apps"`)

// trialOf reads an app's rules from a file.
func trialOf(cmd *cobra.Command, s *session, file, app string, trial *api.RulesTrial) error {
	text, err := readDocument(cmd.InOrStdin(), file)
	if err != nil {
		return err
	}
	var cfg *config.Config
	if wholeConfiguration.Match(text) {
		if file == "-" {
			return host.Errorf(host.Usage, "a whole configuration must be a file: what it names lies beside it")
		}
		cfg, err = config.Load(file)
	} else {
		var entry *config.Entry
		if entry, err = config.ParseEntry("apps", file, text); err != nil {
			return err
		}
		if entry.Name != app {
			return host.Errorf(host.Usage, "%s is of the app %s, not of %s", file, entry.Name, app)
		}
		var main string
		if main, err = s.fileHere(); err != nil {
			return err
		}
		target := entry.File(main)
		if now, loadErr := config.Load(main); loadErr == nil {
			if in := now.DeclaredIn("apps", app); in != "" && !sameFile(in, target) {
				return host.Errorf(host.Conflict, "the app %s is declared in %s: give a changed copy of that", app, in)
			}
		}
		cfg, err = config.LoadWith(main, target, text)
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cfg.Apps, func(a config.App) bool { return a.Name == app })
	if i < 0 {
		return host.Errorf(host.NotFound, "%s has no app named %q", file, app)
	}
	a := cfg.Apps[i]
	trial.Mapping, trial.Link, trial.Scope, trial.Profiles, trial.PermissionSets = a.Mapping, a.Link, &a.Scope, &a.Profiles, &a.PermissionSets
	return nil
}

func writeEffect(cmd *cobra.Command, format string, f host.Effect) error {
	rows := make([][]string, len(f.Examples))
	for i, x := range f.Examples {
		rows[i] = []string{x.Subject, x.What, x.Path, effectValue(x.Now), effectValue(x.Then)}
	}
	if format == "table" {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s: of %d users %d would get other values%s, %d would come in, %d would leave, of %d nothing could be made\n",
			f.AppName, f.Users, f.Changed, pathsText(f.Paths), f.Granted, f.Withdrawn, f.Failing)
		fmt.Fprintf(w, "of %d accounts %d would be linked that are not, %d are linked to somebody else than the rules would say\n", f.Accounts, f.Linked, f.Relinked)
		if len(rows) == 0 {
			return nil
		}
	}
	return term.Write(cmd.OutOrStdout(), format, f, []string{"SUBJECT", "WOULD BE", "ATTRIBUTE", "NOW", "THEN"}, rows)
}

func effectValue(v any) string {
	if v == nil {
		return ""
	}
	return oneLine(fmt.Sprint(v))
}

// pathsText shows how many would change of each attribute: (title 12, userName 3).
func pathsText(paths map[string]int64) string {
	if len(paths) == 0 {
		return ""
	}
	var parts []string
	for path, n := range paths {
		parts = append(parts, fmt.Sprintf("%s %d", path, n))
	}
	slices.Sort(parts)
	return " (" + strings.Join(parts, ", ") + ")"
}

// Effect compares an app's rules with others.
func (s service) Effect(ctx context.Context, app string, t api.RulesTrial) (*host.Effect, error) {
	now, err := s.rulesOf(app)
	if err != nil {
		return nil, host.Errorf(host.NotFound, "%w   -> provost app list", err)
	}
	then, problems := *now, []error(nil)
	keep := func(what string, err error) {
		for _, e := range unjoin(err) {
			var rule *mapping.RuleError
			if errors.As(e, &rule) {
				e = fmt.Errorf("%s: %s", rule.Rule, rule.Message)
			}
			problems = append(problems, fmt.Errorf("%s: %w", what, e))
		}
	}
	if len(t.Mapping) > 0 || len(t.Rules) > 0 {
		text := now.text
		if len(t.Mapping) > 0 {
			text = t.Mapping
		}
		then.Mapping, err = now.tables.Compile(mapping.Replace(text, t.Rules, now.needs), now.needs)
		keep("mapping", err)
		if err == nil {
			for _, path := range then.Mapping.Unmapped(now.needs) {
				keep("mapping", fmt.Errorf("the connector needs %s, and nothing maps it", path))
			}
		}
	}
	if len(t.Link) > 0 {
		then.Links, err = now.tables.CompileLinks(t.Link)
		keep("link", err)
	}
	if t.Scope != nil {
		if then.scope = nil; *t.Scope != "" {
			then.scope, err = now.tables.CompileScope(*t.Scope)
			keep("scope", err)
		}
	}
	if t.Profiles != nil {
		then.profiles = *t.Profiles
	}
	if t.PermissionSets != nil {
		then.sets = *t.PermissionSets
	}
	if len(problems) > 0 {
		return nil, host.Errorf(host.InvalidInput, "%w", errors.Join(problems...))
	}
	return s.plan.Effect(ctx, app, now, &then, t.Examples)
}
