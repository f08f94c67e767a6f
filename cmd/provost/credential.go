package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
)

func newCredentialCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "credential", Short: "Named credentials; a secret is never shown"}
	cols := []string{"CREDENTIAL", "ENDPOINT", "PROTOCOL", "IDENTITY", "SECRET", "AUTHORIZED", "USED BY", "WAITING"}
	row := func(c api.Credential) []string {
		secret := "not set"
		switch {
		case c.SecretSet:
			secret = "set"
		case c.Identity == "anonymous":
			secret = "none"
		}
		authorized := ""
		switch n := len(c.Authorizations); {
		case c.Wants != "":
			authorized = "no"
			if n > 0 {
				authorized = strings.ToLower(string(c.Authorizations[0].State))
			}
		case c.Identity == "per user":
			authorized = fmt.Sprintf("by %d", n)
		case n == 1:
			authorized = "yes"
			if p := c.Authorizations[0].Principal; p != "" {
				authorized = "as " + p
			}
		}
		return []string{c.Name, c.Endpoint, c.Protocol, c.Identity, secret, authorized, usedBy(c), countText(c.Waiting)}
	}
	cmd.AddCommand(
		newList(s, "List credentials", "/api/v1/credentials", cols, row),
		newGet(s, "credential", "/api/v1/credentials", cols, row, func(c api.Credential) string { return c.Name }),
		newApply(s, "credential", "credentials"), newDelete(s, "credential", "credentials", notBusy),
		newCredentialTest(s), newCredentialAuthorize(s), newCredentialRevoke(s), newCredentialRotate(s), newCredentialReseal(s), newCredentialForget(s),
		&cobra.Command{
			Use: "identity", Short: "Make an age identity, to seal secrets with (secrets.identity_file)", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				identity, err := secret.GenerateIdentity()
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), identity)
				return nil
			},
		})
	return cmd
}

// usedBy are the apps that use a credential, each with its connector.
func usedBy(c api.Credential) string {
	list := make([]string, len(c.Uses))
	for i, u := range c.Uses {
		list[i] = u.App + " (" + u.Connector + ")"
	}
	return strings.Join(list, ", ")
}

func countText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func testSteps(steps []callout.Step) []api.TestStep {
	var list []api.TestStep
	for _, one := range steps {
		list = append(list, api.TestStep(one))
	}
	return list
}

// showSteps writes what a test tried; its error is the first step that failed.
func showSteps(w io.Writer, format string, steps []api.TestStep) error {
	rows := make([][]string, len(steps))
	var failed *api.TestStep
	for i, one := range steps {
		mark := "ok"
		if !one.OK {
			mark = "FAILED"
			if one.Unsure {
				mark = "unsure"
			}
			if failed == nil {
				failed = &steps[i]
			}
		}
		rows[i] = []string{one.Name, mark, one.Took.Round(100 * time.Microsecond).String(), one.Detail}
	}
	if err := term.Write(w, format, steps, []string{"STEP", "", "TOOK", "DETAIL"}, rows); err != nil {
		return err
	}
	if failed != nil && failed.Unsure {
		return host.Errorf(host.Unavailable, "it is not known whether the credential works: %s", failed.Detail)
	}
	if failed != nil {
		return host.Errorf(host.Unavailable, "the credential can't be used: %s: %s", failed.Name, failed.Detail)
	}
	return nil
}

func newCredentialTest(s *session) *cobra.Command {
	var in struct {
		User string `json:"user,omitempty"`
		Path string `json:"path,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "test NAME", Short: "Try a credential step by step: resolve, connect, TLS, sign-in, a path", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var steps []api.TestStep
				if err := c.do(ctx, http.MethodPost, "/api/v1/credentials/"+args[0]+"/test", nil, in, &steps); err != nil {
					return err
				}
				return showSteps(cmd.OutOrStdout(), s.output, steps)
			})
		},
	}
	cmd.Flags().StringVar(&in.Path, "path", "", "path to ask for (default: the credential's probe, else its endpoint)")
	cmd.Flags().StringVar(&in.User, "user", "", "as this user, where each person signs in")
	return cmd
}

func newCredentialAuthorize(s *session) *cobra.Command {
	var in api.AuthorizeOptions
	var secretFile string
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "authorize NAME", Short: "Authorize a credential in the browser or on another device", Args: cobra.ExactArgs(1),
		Long: `Prints the address that the person opens, and waits until it is authorized.
Where each person signs in with an authorization of his own, --user says who; a
password or token is read with --secret-file.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if secretFile != "" {
				b, err := readDocument(cmd.InOrStdin(), secretFile)
				if err != nil {
					return err
				}
				in.Secret = strings.TrimRight(string(b), "\r\n")
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var begun *api.Authorizing
				if err := c.do(ctx, http.MethodPost, "/api/v1/credentials/"+args[0]+"/authorize", nil, in, &begun); err != nil {
					return err
				}
				if begun == nil || begun.URL == "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s is authorized\n", args[0])
					return nil
				}
				if begun.UserCode == "" && c.local != nil {
					stop, err := c.local.listenForCallback()
					if err != nil {
						return err
					}
					defer stop()
				}
				if s.output != "table" {
					if err := term.Write(cmd.OutOrStdout(), s.output, begun, nil, nil); err != nil {
						return err
					}
				} else {
					fmt.Fprintln(cmd.ErrOrStderr(), "Open this address and allow it, until "+begun.Expires.Local().Format(time.TimeOnly)+":")
					fmt.Fprintln(cmd.OutOrStdout(), begun.URL)
					if begun.UserCode != "" {
						fmt.Fprintln(cmd.ErrOrStderr(), "The code is "+begun.UserCode)
					}
				}
				if wait <= 0 {
					return nil
				}
				return s.authorized(ctx, c, cmd.ErrOrStderr(), args[0], in.User, begun, wait)
			})
		},
	}
	cmd.Flags().StringVar(&in.User, "user", "", "for this user, where each person signs in")
	cmd.Flags().StringVar(&in.Username, "username", "", "the user's name in the target, with --secret-file")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file with the user's password or token; - is standard input")
	cmd.Flags().DurationVar(&wait, "wait", 15*time.Minute, "how long to wait until it is authorized; 0 does not wait")
	return cmd
}

// authorized waits until somebody has authorized a credential.
func (s *session) authorized(ctx context.Context, c *client, w io.Writer, name, user string, begun *api.Authorizing, wait time.Duration) error {
	ctx, cancel := context.WithDeadline(ctx, minTime(begun.Expires, time.Now().Add(wait)))
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var list []api.Credential
		if err := c.do(ctx, http.MethodGet, "/api/v1/credentials", nil, nil, &list); err != nil && ctx.Err() == nil {
			return err
		}
		for _, one := range list {
			for _, a := range one.Authorizations {
				if one.Name != name || (a.UserId == "") != (user == "") || a.Generation <= begun.Generation || a.State != host.Authorized {
					continue
				}
				as := ""
				if a.Principal != "" {
					as = " as " + a.Principal
				}
				fmt.Fprintf(w, "%s is authorized%s\n", name, as)
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return host.Errorf(host.Unavailable, "nobody has authorized %s in time; begin it again", name)
		case <-tick.C:
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// listenForCallback lets a browser end an authorization where no daemon runs.
func (d *daemon) listenForCallback() (stop func(), err error) {
	address := d.current.Load().config.Listen.API
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "the browser's answer is awaited at listen.api: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.CallbackPath, api.Callback(service{d}))
	server := &http.Server{Handler: loopbackOnly(mux), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with Close
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // the page may still be on its way
		_ = server.Close()
		<-done
	}, nil
}

func newCredentialRevoke(s *session) *cobra.Command {
	var in struct {
		User string `json:"user,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Take back what a person has authorized, here and at its server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var done string
				if err := c.do(ctx, http.MethodPost, "/api/v1/credentials/"+args[0]+"/revoke", nil, in, &done); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", args[0], done)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&in.User, "user", "", "of this user, where each person signs in")
	return cmd
}
