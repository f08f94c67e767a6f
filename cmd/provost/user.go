package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
)

func newUserCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "People of the organisation"}
	cmd.AddCommand(newUserImport(s), newUserList(s), newUserGet(s), newUserApply(s), newUserDelete(s), newUserErase(s), newUserErasures(s),
		newUserAssign(s, "assign", http.MethodPut, "Assign a user an app: an account is made"),
		newUserAssign(s, "unassign", http.MethodDelete, "Take an app from a user: the account is deactivated"))
	return cmd
}

func newUserImport(s *session) *cobra.Command {
	var format, key string
	var prune, keepGoing, dry bool
	var assign []string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in users from CSV, JSON or JSON Lines (- is standard input)",
		Long: `Takes in users from CSV, JSON or JSON Lines. The columns are the model's fields
(Username, FirstName, LastName, Email, IsActive, Department, …); any other
column becomes an attribute of the organisation's own. A user is found again
by Username, or by the field that --key names. The whole file is taken or,
if any row is wrong, none of it, unless --keep-going.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := openFileOrStdin(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer f.Close()
			if format == "" {
				format = strings.TrimPrefix(strings.ToLower(filepath.Ext(args[0])), ".")
			}
			query := url.Values{"name": {filepath.Base(args[0])}, "format": {format}, "key": {key}, "assign": assign,
				"prune": {strconv.FormatBool(prune)}, "keep_going": {strconv.FormatBool(keepGoing)}}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if dry {
					return c.dryRun(ctx, cmd.OutOrStdout(), s.output, http.MethodPost, "/api/v1/users/import", query, f)
				}
				bar := term.NewProgress(cmd.ErrOrStderr(), "importing", 0)
				result, err := c.importUsers(ctx, f, query, bar.Set)
				if err != nil {
					bar.Done("")
					return err
				}
				bar.Done("")
				if s.output != "table" {
					if err := term.Write(cmd.OutOrStdout(), s.output, result, nil, nil); err != nil {
						return err
					}
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%d created, %d updated, %d unchanged, %d disabled; %d requests made\n",
						result.Created, result.Updated, result.Unchanged, result.Disabled, result.Requests)
				}
				for _, e := range result.Errors {
					fmt.Fprintln(cmd.ErrOrStderr(), e)
				}
				if result.Quarantined != "" {
					return host.Errorf(host.Conflict, "nobody was disabled: %s   -> provost plan get %s", result.Quarantined, result.QuarantinePlan)
				}
				if result.Refused > 0 {
					return host.Errorf(host.InvalidInput, "%d rows were not taken", result.Refused)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "csv, json or jsonl (default: by the file's name)")
	cmd.Flags().StringVar(&key, "key", "", "field that tells who is who (default Username)")
	cmd.Flags().BoolVar(&prune, "prune", false, "disable the users that the file does not have")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would follow in the apps; nothing is taken")
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "take the good rows, report the bad ones")
	cmd.Flags().StringSliceVar(&assign, "assign", nil, "assign every user of the file these apps")
	return cmd
}

func newUserList(s *session) *cobra.Command {
	var query, where string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				users, err := pages(limit, func(n int, last *host.User) ([]*host.User, error) {
					q := url.Values{"query": {query}, "where": {where}, "limit": {strconv.Itoa(n)}}
					if last != nil {
						q.Set("after", last.Id)
					}
					var list []*host.User
					return list, c.do(ctx, http.MethodGet, "/api/v1/users", q, nil, &list)
				})
				if err != nil {
					return err
				}
				return writeUsers(cmd.OutOrStdout(), s.output, users)
			})
		},
	}
	cmd.Flags().StringVarP(&query, "query", "q", "", "beginnings of words of a username, a name or an e-mail")
	cmd.Flags().StringVar(&where, "where", "", "only those for whom an expression holds: 'user.Department == \"Sales\"'")
	cmd.MarkFlagsMutuallyExclusive("query", "where")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (default all)")
	return cmd
}

func writeUsers(w io.Writer, format string, users []*host.User) error {
	rows := make([][]string, len(users))
	for i, u := range users {
		rows[i] = []string{u.Username, u.DisplayName(), u.Email, yesNo(u.IsActive), u.Profile, strings.Join(u.Apps, ", ")}
	}
	return term.Write(w, format, users, []string{"USERNAME", "NAME", "EMAIL", "ACTIVE", "PROFILE", "APPS"}, rows)
}

func newUserGet(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "get USER", Short: "Show one user and the user's accounts", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var u host.User
				if err := c.do(ctx, http.MethodGet, "/api/v1/users/"+url.PathEscape(args[0]), nil, nil, &u); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, u, nil, nil)
				}
				var accounts []account
				if err := c.do(ctx, http.MethodGet, "/api/v1/accounts", url.Values{"user": {u.Id}}, nil, &accounts); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", u.DisplayName(), u.Username, activeWord(u.IsActive))
				return writeAccounts(cmd.OutOrStdout(), s.output, accounts)
			})
		},
	}
}

// dryRunFlag gives a command --dry-run.
func dryRunFlag(cmd *cobra.Command, dry *bool) *cobra.Command {
	cmd.Flags().BoolVar(dry, "dry-run", false, "only show what would follow in the apps; nothing is stored")
	return cmd
}

func newUserApply(s *session) *cobra.Command {
	var file string
	var dry bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Make or change one user from JSON (- is standard input)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := openFileOrStdin(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer f.Close()
			var raw json.RawMessage
			if err := json.NewDecoder(f).Decode(&raw); err != nil {
				return host.Errorf(host.InvalidInput, "%s is no JSON: %w", file, err)
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if dry {
					return c.dryRun(ctx, cmd.OutOrStdout(), s.output, http.MethodPost, "/api/v1/users", nil, bytes.NewReader(raw))
				}
				var u host.User
				if err := c.do(ctx, http.MethodPost, "/api/v1/users", nil, raw, &u); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, u, nil, nil)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is stored\n", u.Username)
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "-", "the user as JSON")
	return dryRunFlag(cmd, &dry)
}

func newUserDelete(s *session) *cobra.Command {
	var dry bool
	return dryRunFlag(&cobra.Command{
		Use: "delete USER", Short: "Disable a user for good: what follows is on_delete of each app; who comes back under the same name is known again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				path := "/api/v1/users/" + url.PathEscape(args[0])
				if dry {
					return c.dryRun(ctx, cmd.OutOrStdout(), s.output, http.MethodDelete, path, nil, nil)
				}
				if err := c.do(ctx, http.MethodDelete, path, nil, nil, nil); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is deleted   -> provost request list --user %s\n", args[0], args[0])
				return nil
			})
		},
	}, &dry)
}

func newUserAssign(s *session, verb, method, short string) *cobra.Command {
	var app string
	var dry bool
	cmd := &cobra.Command{
		Use: verb + " USER --app APP", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				path := "/api/v1/users/" + url.PathEscape(args[0]) + "/apps/" + url.PathEscape(app)
				if dry {
					return c.dryRun(ctx, cmd.OutOrStdout(), s.output, method, path, nil, nil)
				}
				if err := c.do(ctx, method, path, nil, nil, nil); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %sed %s   -> provost request list --user %s\n", args[0], verb, app, args[0])
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "name of the app")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	return dryRunFlag(cmd, &dry)
}

// pages fetches page after page until limit (0: all) or the end.
func pages[T any](limit int, fetch func(n int, last T) ([]T, error)) ([]T, error) {
	const most = 1000
	all := []T{}
	var last T
	for {
		n := most
		if limit > 0 {
			n = min(most, limit-len(all))
		}
		page, err := fetch(n, last)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < n || len(all) == limit {
			return all, nil
		}
		last = page[len(page)-1]
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func activeWord(b bool) string {
	if b {
		return "active"
	}
	return "disabled"
}
