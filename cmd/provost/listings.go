package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func newAppCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "app", Short: "Connected apps"}
	cols := []string{"APP", "LABEL", "CONNECTOR", "CREDENTIAL", "OPERATIONS", "ACCOUNTS", "OPEN", "FAILED", "NEXT RUN"}
	row := func(a api.App) []string {
		var accounts, open int64
		for _, n := range a.Accounts {
			accounts += n
		}
		for st, n := range a.Requests {
			if !st.Ended() {
				open += n
			}
		}
		return []string{a.Config.AppName, a.Label, a.Config.Connector, a.Config.NamedCredentialId, join(a.Config.EnabledOperations),
			strconv.FormatInt(accounts, 10), strconv.FormatInt(open, 10), strconv.FormatInt(a.Requests[host.StateFailed], 10), timeText(a.NextRun)}
	}
	cmd.AddCommand(
		newList(s, "List apps", "/api/v1/apps", cols, row),
		newGet(s, "app", "/api/v1/apps", cols, row, func(a api.App) string { return a.Config.AppName }),
		newApply(s, "app", "apps"), newDelete(s, "app", "apps", appInUse), newMapCommand(s), newAppPreview(s))
	return cmd
}

func timeText(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Local().Format(time.DateTime)
}

func newList[T any](s *session, short, path string, cols []string, row func(T) []string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []T
				if err := c.do(ctx, http.MethodGet, path, nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, v := range list {
					rows[i] = row(v)
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, cols, rows)
			})
		},
	}
}

func newGet[T any](s *session, noun, path string, cols []string, row func(T) []string, name func(T) string) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show one " + noun, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []T
				if err := c.do(ctx, http.MethodGet, path, nil, nil, &list); err != nil {
					return err
				}
				for _, v := range list {
					if name(v) == args[0] {
						return term.Write(cmd.OutOrStdout(), s.output, v, cols, [][]string{row(v)})
					}
				}
				return host.Errorf(host.NotFound, "no %s named %q   -> provost %s list", noun, args[0], noun)
			})
		},
	}
}
