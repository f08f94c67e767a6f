package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// account is an account as the API shows it.
type account = api.Account

func newAccountCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Accounts in the apps, and whose they are"}
	cmd.AddCommand(newAccountList(s), newAccountGet(s), newAccountLink(s),
		newAccountAct(s, "unlink", "Take an account from its user; nothing changes in the target"),
		newAccountAct(s, "ignore", "Let changes to the user have no effect on an account"))
	return cmd
}

func newAccountList(s *session) *cobra.Command {
	var app, user, state, query string
	var drifted bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List accounts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "" && !slices.Contains(host.LinkStates, host.LinkState(state)) {
				return host.Errorf(host.Usage, "--state %s: there is linked, duplicate, orphaned and ignored", state)
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				accounts, err := pages(limit, func(n int, last account) ([]account, error) {
					q := url.Values{"app": {app}, "user": {user}, "state": {state}, "query": {query},
						"drifted": {strconv.FormatBool(drifted)}, "limit": {strconv.Itoa(n)}}
					if last.UserProvAccount != nil {
						q.Set("after", strconv.FormatInt(last.AfterNumber, 10))
					}
					var list []account
					return list, c.do(ctx, http.MethodGet, "/api/v1/accounts", q, nil, &list)
				})
				if err != nil {
					return err
				}
				return writeAccounts(cmd.OutOrStdout(), s.output, accounts)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "only of this app")
	cmd.Flags().StringVar(&user, "user", "", "only of this user")
	cmd.Flags().StringVar(&state, "state", "", "linked, duplicate, orphaned or ignored")
	cmd.Flags().BoolVar(&drifted, "drifted", false, "only those whose values are not as the mapping wants them")
	cmd.Flags().StringVarP(&query, "query", "q", "", "beginnings of words of an id, a username, a name or an e-mail")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (default all)")
	return cmd
}

func writeAccounts(w io.Writer, format string, accounts []account) error {
	rows := make([][]string, len(accounts))
	for i, a := range accounts {
		state := string(a.LinkState)
		if a.DeletedDate != nil {
			state += ", gone"
		}
		if n := len(a.Candidates); n > 0 {
			state += fmt.Sprintf(", %d may have it", n)
		}
		rows[i] = []string{a.Name, a.AppName, a.ExternalUsername, a.ExternalUserId, state, activeWord(a.Active), driftText(a.Drift)}
	}
	return term.Write(w, format, accounts, []string{"ACCOUNT", "APP", "USERNAME", "ID THERE", "LINK", "STATUS", "DRIFT"}, rows)
}

// driftText shows what the target has and what we want of it.
func driftText(drift []host.Difference) string {
	parts := make([]string, len(drift))
	for i, d := range drift {
		parts[i] = fmt.Sprintf("%s: %s -> %s", d.Path, valueText(d.Have), valueText(d.Want))
	}
	return strings.Join(parts, "; ")
}

func valueText(v any) string {
	if v == nil {
		return "(none)"
	}
	return fmt.Sprint(v)
}

func newAccountLink(s *session) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use: "link ACCOUNT --user USER", Short: "Say whose an account is; later runs keep it so", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return accountAction(cmd, s, args[0], "link", map[string]string{"user": user})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "id or username")
	_ = cmd.MarkFlagRequired("user") // fails only for a flag that does not exist
	return cmd
}

func newAccountAct(s *session, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ACCOUNT", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return accountAction(cmd, s, args[0], verb, nil) },
	}
}

func accountAction(cmd *cobra.Command, s *session, id, verb string, body any) error {
	return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
		var a account
		if err := c.do(ctx, http.MethodPost, "/api/v1/accounts/"+url.PathEscape(id)+"/"+verb, nil, body, &a); err != nil {
			return err
		}
		return writeAccounts(cmd.OutOrStdout(), s.output, []account{a})
	})
}
