package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/store"
)

func newMapCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "map", Short: "How an app's attributes are made of a user"}
	cmd.AddCommand(newMapTest(s))
	return cmd
}

func newMapTest(s *session) *cobra.Command {
	var app string
	var trial api.MappingTrial
	cmd := &cobra.Command{
		Use: "test", Short: "Show what the rules make of a user; nothing is stored or sent", Args: cobra.NoArgs,
		Example: `  provost app map test --app acme --user jdoe
  provost app map test --app acme --user jdoe --rule 'title = upper(user.Title)'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var m api.Mapping
				if err := c.do(ctx, http.MethodPost, "/api/v1/apps/"+url.PathEscape(app)+"/mapping", nil, trial, &m); err != nil {
					return err
				}
				if err := writeMapping(cmd, s.output, m); err != nil {
					return err
				}
				wrong := len(m.Unmapped)
				for _, r := range m.Rules {
					if r.Problem != "" {
						wrong++
					}
				}
				switch wrong {
				case 0:
					return nil
				case 1:
					return host.Errorf(host.InvalidInput, "the mapping of %s has 1 problem for %s", app, trial.User)
				}
				return host.Errorf(host.InvalidInput, "the mapping of %s has %d problems for %s", app, wrong, trial.User)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "the app")
	cmd.Flags().StringVar(&trial.User, "user", "", "id or username")
	cmd.Flags().StringArrayVar(&trial.Rules, "rule", nil, "a rule to try in place of the app's for the same attribute (may be repeated)")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	_ = cmd.MarkFlagRequired("user")
	return cmd
}

func writeMapping(cmd *cobra.Command, format string, m api.Mapping) error {
	var rows [][]string
	for _, r := range m.Rules {
		rows = append(rows, []string{r.Path, shownValue(r), oneLine(r.Expression), ruleNotes(r), oneLine(r.Problem)})
	}
	for _, path := range m.Unmapped {
		rows = append(rows, []string{path, "", "", "", "the connector needs it, and nothing maps it"})
	}
	return term.Write(cmd.OutOrStdout(), format, m, []string{"ATTRIBUTE", "VALUE", "EXPRESSION", "WHEN", "PROBLEM"}, rows)
}

func shownValue(r api.MappingRule) string {
	switch {
	case r.Secret:
		return "(a new password)"
	case r.Value == nil:
		return ""
	}
	if text, ok := r.Value.(string); ok {
		return oneLine(text)
	}
	b, err := json.Marshal(r.Value)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func ruleNotes(r api.MappingRule) string {
	var notes []string
	if r.OnCreate {
		notes = append(notes, "on create")
	}
	if r.Unique {
		notes = append(notes, "or the next that is free")
	}
	if r.EmptyLeaves {
		notes = append(notes, "empty leaves")
	}
	return strings.Join(notes, ", ")
}

// Mapping tries an app's mapping, or one that is like it but for some rules.
func (s service) Mapping(ctx context.Context, app string, t api.MappingTrial) (*api.Mapping, error) {
	r, err := s.rulesOf(app)
	if err != nil {
		return nil, host.Errorf(host.NotFound, "%w   -> provost app list", err)
	}
	m := r.Mapping
	if len(t.Rules) > 0 {
		if m, err = r.tables.Compile(mapping.Replace(r.text, t.Rules, r.needs), r.needs); err != nil {
			var wrong []string
			for _, e := range unjoin(err) {
				var rule *mapping.RuleError
				if errors.As(e, &rule) {
					wrong = append(wrong, fmt.Sprintf("%s: %s", rule.Rule, rule.Message))
				}
			}
			return nil, host.Errorf(host.InvalidInput, "%s", strings.Join(wrong, "; "))
		}
	}
	var u *host.User
	if t.User != "" {
		err := s.store.View(ctx, func(tx *store.Tx) error {
			if u, err = findUser(ctx, tx, t.User); err != nil {
				return err
			}
			u.Apps, err = tx.UserApps(ctx, u.Id)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	out := &api.Mapping{App: app, Rules: []api.MappingRule{}, Unmapped: m.Unmapped(r.needs)}
	if u != nil {
		out.User = u.Username
	}
	for _, one := range m.Try(u) {
		shown := api.MappingRule{Path: one.Path, Expression: one.Expression, OnCreate: one.OnCreate, EmptyLeaves: one.EmptyLeaves, Unique: one.Unique, Secret: one.Secret, Value: one.Value}
		if one.Err != nil {
			shown.Problem = one.Err.Error()
		}
		out.Rules = append(out.Rules, shown)
	}
	return out, nil
}
