package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

func newCredentialCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "credential", Short: "Named credentials; a secret is never shown"}
	cols := []string{"CREDENTIAL", "ENDPOINT", "PROTOCOL", "IDENTITY", "SECRET", "AUTHORIZED", "APPS", "WAITING"}
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
		return []string{c.Name, c.Endpoint, c.Protocol, c.Identity, secret, authorized, strings.Join(c.Apps, ", "), countText(c.Waiting)}
	}
	cmd.AddCommand(
		newList(s, "List credentials", "/api/v1/credentials", cols, row),
		newGet(s, "credential", "/api/v1/credentials", cols, row, func(c api.Credential) string { return c.Name }),
		newApply(s, "credential", "credentials"), newDelete(s, "credential", "credentials", credentialInUse),
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
			if failed == nil {
				failed = &steps[i]
			}
		}
		rows[i] = []string{one.Name, mark, one.Took.Round(100 * time.Microsecond).String(), one.Detail}
	}
	if err := term.Write(w, format, steps, []string{"STEP", "", "TOOK", "DETAIL"}, rows); err != nil {
		return err
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
	server := &http.Server{Handler: loopbackOnly(d.handler()), ReadHeaderTimeout: 10 * time.Second}
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

func newCredentialRotate(s *session) *cobra.Command {
	var file, path string
	var finish, force bool
	cmd := &cobra.Command{
		Use: "rotate NAME --secret-file FILE|-", Short: "Change a credential's secret: the new one is tried before the old one goes", Args: cobra.ExactArgs(1),
		Long: `Tries the new secret at the target. If the target takes it, it is kept, and the
one before stays beside it: a request that the target refuses with the new one is
signed with the old. When the old one is taken away at the target, end the
rotation with --finish.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == !finish {
				return host.Errorf(host.Usage, "give --secret-file with the new secret, or --finish")
			}
			main, name := configFile(s.config), args[0]
			now, err := config.Load(main)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(now.Credentials, func(c config.Credential) bool { return c.Name == name })
			if i < 0 {
				return host.Errorf(host.NotFound, "no credential named %q   -> provost credential list", name)
			}
			target := config.EntryFile(main, "credentials", name)
			if in := now.DeclaredIn("credentials", name); !sameFile(in, target) {
				return host.Errorf(host.Conflict, "the credential %s is declared in %s: put the new secret there, and the one before it beside it as previous", name, in)
			}
			text, err := os.ReadFile(target)
			if err != nil {
				return host.Errorf(host.Internal, "%w", err)
			}
			entry, err := config.ParseListed("credentials", target, text)
			if err != nil {
				return err
			}
			sealer, err := newSealer(now.Secrets)
			if err != nil {
				return err
			}
			in := namedCredentials(now.Credentials[i:i+1], now.Proxy)[0]
			at := &in.SignIn.Secret
			if in.SignIn.Key.Secret.Ref.IsSet() && !at.Ref.IsSet() {
				at = &in.SignIn.Key.Secret
			}
			if !at.Ref.IsSet() {
				return host.Errorf(host.Conflict, "%s signs in by %s: it has no secret to change", name, in.SignIn.Kind())
			}
			if finish {
				if !entry.EndRotation(at.Path) {
					return host.Errorf(host.Conflict, "%s is in no rotation: it has one secret", name)
				}
				at.Ref.Previous = nil
			} else {
				b, err := readDocument(cmd.InOrStdin(), file)
				if err != nil {
					return err
				}
				value := strings.TrimRight(string(b), "\r\n")
				if value == "" {
					return host.Errorf(host.InvalidInput, "the new secret is empty")
				}
				binding := signin.Binding(name, at.Path)
				sealed, err := seal(now, binding, value)
				if err != nil {
					return err
				}
				if err := entry.Rotate(at.Path, sealed, func(old string) (string, error) {
					v, err := sealer.Open(old, binding)
					if err != nil {
						return "", err
					}
					return sealer.Seal(v, binding+".previous")
				}); err != nil {
					return err
				}
				at.Ref = secret.Ref{Value: value}
			}
			if in.SignIn.Interactive() {
				fmt.Fprintln(cmd.ErrOrStderr(), "it can't be tried without using what a person has authorized; the next refresh tells")
			} else if err := tryCredential(cmd.Context(), cmd.ErrOrStderr(), sealer, in, path); err != nil && !force {
				return host.Errorf(host.CodeOf(err), "nothing was changed: %w; --force changes it all the same", err)
			}
			before := fileDigest(text)
			if text, err = entry.Text(); err != nil {
				return err
			}
			next, err := config.LoadWith(main, target, text, checkConnectors(cmd.Context()))
			if err != nil {
				return err
			}
			if err := writeWhole(target, text); err != nil {
				return err
			}
			s.declare(cmd.Context(), cmd.ErrOrStderr(), now, next, api.Declaration{Action: host.AuditCredentialRotate, Name: name, Before: before, After: fileDigest(text)})
			if finish {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has one secret again\n", name)
			} else {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has the new secret, and the one before it until   -> provost credential rotate %s --finish\n", name, name)
			}
			return s.taken(cmd.Context(), next)
		},
	}
	cmd.Flags().StringVar(&file, "secret-file", "", "file with the new secret; - is standard input")
	cmd.Flags().StringVar(&path, "path", "", "path to try it with (default: the credential's probe, else its endpoint)")
	cmd.Flags().BoolVar(&finish, "finish", false, "drop the secret before this one")
	cmd.Flags().BoolVar(&force, "force", false, "although the target does not take it")
	return cmd
}

// tryCredential tries a credential that is not in use yet, with nothing that is
// stored.
func tryCredential(ctx context.Context, w io.Writer, sealer *secret.Sealer, c callout.Credential, path string) error {
	out := callout.New(callout.Options{Sealer: sealer})
	defer out.Close()
	steps, err := out.Try(ctx, c, "", path)
	if err != nil {
		return err
	}
	return showSteps(w, "table", testSteps(steps))
}

func newCredentialReseal(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "reseal", Short: "Seal the secrets of conf.d with the first of the identities; a daemon does so with what it stores", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			main := configFile(s.config)
			now, err := config.Load(main)
			if err != nil {
				return err
			}
			sealer, err := newSealer(now.Secrets)
			if err != nil {
				return err
			}
			if sealer == nil {
				return host.Errorf(host.InvalidInput, "the configuration names no identity: set secrets.identity_file")
			}
			var elsewhere, resealed []string
			n := 0
			for _, c := range now.Credentials {
				target := config.EntryFile(main, "credentials", c.Name)
				in := now.DeclaredIn("credentials", c.Name)
				text, err := os.ReadFile(in)
				if err != nil {
					return host.Errorf(host.Internal, "%w", err)
				}
				if !sameFile(in, target) {
					if strings.Contains(string(text), "sealed:") && !slices.Contains(elsewhere, in) {
						elsewhere = append(elsewhere, in)
					}
					continue
				}
				entry, err := config.ParseListed("credentials", target, text)
				if err != nil {
					return err
				}
				changed := 0
				err = entry.Reseal(func(path, sealed string) (string, error) {
					next, same, err := sealer.Reseal(sealed, signin.Binding(c.Name, path))
					if !same {
						changed++
					}
					return next, err
				})
				if err != nil {
					return host.Errorf(host.CodeOf(err), "%s: %w", filepath.Base(target), err)
				}
				if changed == 0 {
					continue
				}
				if text, err = entry.Text(); err != nil {
					return err
				}
				if err := writeWhole(target, text); err != nil {
					return err
				}
				n, resealed = n+changed, append(resealed, c.Name)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d secrets were sealed anew with the key %s\n", n, sealer.KeyID())
			if len(elsewhere) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "not looked at, since somebody else wrote them: %s\n", strings.Join(elsewhere, ", "))
			}
			next, err := config.Load(main)
			if err != nil {
				return err
			}
			for _, name := range resealed {
				s.declare(cmd.Context(), cmd.ErrOrStderr(), now, next, api.Declaration{Action: host.AuditCredentialReseal, Name: name, After: fileDigestOf(config.EntryFile(main, "credentials", name))})
			}
			return s.taken(cmd.Context(), next)
		},
	}
}

func newCredentialForget(s *session) *cobra.Command {
	var lost bool
	cmd := &cobra.Command{
		Use: "forget --lost-keys", Short: "Drop authorizations that no key opens any more; people authorize again", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !lost {
				return host.Errorf(host.Usage, "say --lost-keys: what is dropped can't be had back")
			}
			cfg, err := config.Load(configFile(s.config))
			if err != nil {
				return err
			}
			if c, ok := socketClient(cfg.Listen.Socket); ok {
				return errors.Join(c.close(cmd.Context()), host.Errorf(host.Conflict, "a daemon runs, so no key is lost"))
			}
			sealer, err := newSealer(cfg.Secrets)
			if err != nil {
				return err
			}
			n := 0
			records, err := store.Open(cmd.Context(), cfg.Database.URL, store.Options{})
			if err != nil {
				return err
			}
			ctx := host.WithActor(cmd.Context(), s.actor())
			err = records.Update(ctx, func(t *store.Tx) error {
				n = 0
				list, err := t.Authorizations(ctx)
				for _, a := range list {
					if err != nil || a.Sealed == "" || sealer != nil && sealer.Knows(a.SealedWith) {
						continue
					}
					n++
					a.State, a.Reason, a.Sealed, a.SealedWith, a.ExpiresDate = host.AuthorizeAgain, "the key was lost that its tokens were sealed with", "", "", nil
					err = t.PutAuthorization(ctx, a)
				}
				if err != nil || n == 0 {
					return err
				}
				return t.AppendAudit(ctx, host.AuditEntry{Actor: host.ActorOf(ctx), Action: host.AuditCredentialForget, Object: host.AuditObject{Kind: "credential", Name: "lost keys"},
					Outcome: host.AuditDone, Details: fmt.Appendf(nil, `{"authorizations":%d}`, n)})
			})
			if err = errors.Join(err, records.Close()); err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d authorizations were dropped\n", n)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&lost, "lost-keys", false, "those whose key is not among the identities")
	return cmd
}
