package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

func newReconcileImport(s *session) *cobra.Command {
	var app, format string
	var wait, commit bool
	cmd := &cobra.Command{
		Use: "import FILE --app APP", Short: "Put in an app's accounts from CSV, JSON or JSON Lines, and analyze them (- is standard input)",
		Long: `Puts in all accounts of an app, for a target that nothing can list, and starts
a run at Analyzing. The columns are ExternalUserId, ExternalUsername,
ExternalFirstName, ExternalLastName, ExternalEmail and Status; any other column
is the path of an attribute. If any row is wrong, none is taken.`,
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
			open := s.with
			if wait {
				open = s.working
			}
			return open(cmd.Context(), func(ctx context.Context, c *client) error {
				query := url.Values{"name": {filepath.Base(args[0])}, "format": {format}, "commit": {strconv.FormatBool(commit)}}
				var r request
				if err := c.upload(ctx, "/api/v1/apps/"+url.PathEscape(app)+"/accounts/import", query, f, &r); err != nil {
					return err
				}
				if !wait {
					fmt.Fprintf(cmd.OutOrStdout(), "%s has %d accounts   -> provost request get %s\n", r.Name, r.ReconFound, r.Name)
					return nil
				}
				return followReconcile(ctx, cmd, s, c, r.Id)
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "name of the app")
	cmd.Flags().StringVar(&format, "format", "", "csv, json or jsonl (default: by the file's name)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is analyzed (and committed)")
	cmd.Flags().BoolVar(&commit, "commit", false, "commit without a review")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	return cmd
}

func newReconcileAct(s *session, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " REQUEST", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var r request
				if err := c.do(ctx, http.MethodPost, "/api/v1/requests/"+url.PathEscape(args[0])+"/"+verb, nil, nil, &r); err != nil {
					return err
				}
				return writeRequests(cmd.OutOrStdout(), s.output, []request{r})
			})
		},
	}
}

func (s service) PauseRun(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditReconcilePause, id, func(t tx, id string) (*host.UserProvisioningRequest, error) { return s.reconcile.Pause(ctx, t, id) })
}

func (s service) ResumeRun(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditReconcileResume, id, func(t tx, id string) (*host.UserProvisioningRequest, error) { return s.reconcile.Resume(ctx, t, id) })
}

// stagedAtOnce is how many accounts of a file are staged together.
const stagedAtOnce = 1000

func (s service) ImportAccounts(ctx context.Context, app string, in io.Reader, name, format string, commit bool) (r *host.UserProvisioningRequest, err error) {
	copied, err := provision.Spool(in) // a transaction may run again
	if err != nil {
		return nil, err
	}
	defer copied.Close()
	err = s.store.Update(ctx, func(t *store.Tx) error {
		file, err := copied.Rewind()
		if err != nil {
			return err
		}
		next, stop := iter.Pull2(stagedAccounts(file, name, format))
		defer stop()
		r, err = s.reconcile.StartStaged(ctx, tx{Tx: t, d: s.daemon}, app, commit, func() ([]*host.UserProvAccountStaging, error) {
			var page []*host.UserProvAccountStaging
			for len(page) < stagedAtOnce {
				a, err, ok := next()
				if err != nil {
					return nil, err
				}
				if !ok {
					break
				}
				page = append(page, a)
			}
			return page, ctx.Err()
		})
		if err != nil {
			return err
		}
		return s.auditRequest(ctx, t, host.AuditReconcileImport, r, map[string]any{"commit": commit})
	})
	return r, err
}

// stagedAccounts reads the accounts of a file.
func stagedAccounts(in io.Reader, name, format string) iter.Seq2[*host.UserProvAccountStaging, error] {
	return func(yield func(*host.UserProvAccountStaging, error) bool) {
		stopped := host.Errorf(host.Cancelled, "stopped")
		seen := map[string]string{}
		err := provision.AccountRows(in, name, format, func(place string, fields map[string]any) error {
			a, err := stagedAccount(fields)
			if err != nil {
				return host.Errorf(host.InvalidInput, "%s%s; nothing was taken", place, err)
			}
			if first, twice := seen[a.ExternalUserId]; twice {
				return host.Errorf(host.InvalidInput, "%sthe account %q is there twice, first in %s; nothing was taken", place, a.ExternalUserId, strings.TrimSuffix(first, ": "))
			}
			seen[a.ExternalUserId] = place
			if !yield(a, nil) {
				return stopped
			}
			return nil
		})
		if err != nil && err != error(stopped) {
			yield(nil, err)
		}
	}
}

// longestField is the most bytes of one field of an account.
const longestField = 4096

func stagedAccount(fields map[string]any) (*host.UserProvAccountStaging, error) {
	a := &host.UserProvAccountStaging{}
	into := map[string]*string{"ExternalUserId": &a.ExternalUserId, "ExternalUsername": &a.ExternalUsername, "ExternalFirstName": &a.ExternalFirstName,
		"ExternalLastName": &a.ExternalLastName, "ExternalEmail": &a.ExternalEmail, "Status": &a.Status}
	for column, value := range fields {
		text, isText := value.(string)
		if isText && len(text) > longestField {
			return nil, fmt.Errorf("%s has more than %d bytes", column, longestField)
		}
		if field := into[column]; field != nil {
			if !isText && value != nil {
				return nil, fmt.Errorf("%s must be text", column)
			}
			*field = strings.TrimSpace(text)
			continue
		}
		if !pdk.ValidPath(column) {
			return nil, fmt.Errorf("the column %q is neither a field of an account nor the path of an attribute", column)
		}
		if value == nil || value == "" {
			continue
		}
		if a.Attributes == nil {
			a.Attributes = map[string]any{}
		}
		pdk.SetPath(a.Attributes, column, value)
	}
	if a.ExternalUserId == "" {
		return nil, fmt.Errorf("ExternalUserId is missing")
	}
	return a, nil
}
