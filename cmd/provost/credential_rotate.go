package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

func newCredentialRotate(s *session) *cobra.Command {
	var file, path, field string
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
			name := args[0]
			stored := api.Rotation{Field: field, Path: path, Force: force, Finish: finish}
			if s.remote.address() != "" {
				return rotateStored(cmd, s, name, stored, file)
			}
			main := configFile(s.config)
			now, err := config.Load(main)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(now.Credentials, func(c config.Credential) bool { return c.Name == name })
			if i < 0 { // no file has it: the daemon may
				return rotateStored(cmd, s, name, stored, file)
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
			at, err := secretToRotate(&in.SignIn, field)
			if err != nil {
				return err
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
	cmd.Flags().StringVar(&field, "field", "", "which secret, where there are several, such as oauth2.password or headers.X-Key.secret")
	cmd.Flags().BoolVar(&finish, "finish", false, "drop the secret before this one")
	cmd.Flags().BoolVar(&force, "force", false, "although the target does not take it")
	return cmd
}

// rotateStored rotates a secret of a credential that the daemon stores.
func rotateStored(cmd *cobra.Command, s *session, name string, r api.Rotation, file string) error {
	if file != "" {
		b, err := readDocument(cmd.InOrStdin(), file)
		if err != nil {
			return err
		}
		r.Secret = strings.TrimRight(string(b), "\r\n")
	}
	return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
		var done api.Rotated
		if err := c.do(ctx, http.MethodPost, "/api/v1/credentials/"+url.PathEscape(name)+"/rotate", nil, r, &done); err != nil {
			return err
		}
		err := showSteps(cmd.OutOrStdout(), s.output, done.Steps)
		switch {
		case !done.Done:
			return host.Errorf(host.CodeOf(err), "nothing was changed: %w; --force changes it all the same", err)
		case r.Finish:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s has one secret again\n", name)
		default:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s has the new secret, and the one before it until   -> provost credential rotate %s --finish\n", name, name)
		}
		return nil
	})
}

// secretsOf are the secrets that a credential has, the one that it signs in with
// first.
func secretsOf(c *signin.Config) (there []*signin.Secret) {
	add := func(s *signin.Secret) {
		if s.Ref.IsSet() {
			there = append(there, s)
		}
	}
	add(&c.Secret)
	add(&c.Key.Secret)
	add(&c.OAuth2.SubjectToken)
	add(&c.OAuth2.ActorToken)
	for _, list := range [][]signin.Header{c.Headers, c.OAuth2.SecretParams, c.OAuth2.SecretHeaders} {
		for i := range list {
			add(&list[i].Secret)
		}
	}
	return there
}

// secretToRotate is the secret of a credential at field, or the one that it
// signs in with.
func secretToRotate(c *signin.Config, field string) (*signin.Secret, error) {
	there := secretsOf(c)
	paths := make([]string, len(there))
	for i, one := range there {
		paths[i] = one.Path
	}
	switch i := slices.Index(paths, field); {
	case c.Protocol == signin.AWS && len(there) > 0 && (field == "" || field == c.Secret.Path):
		return nil, host.Errorf(host.Conflict, "another key of AWS has another access_key_id: change both at once   -> provost credential apply")
	case len(there) == 0:
		return nil, host.Errorf(host.Conflict, "%s signs in by %s: it has no secret to change", c.Name, c.Kind())
	case field == "":
		return there[0], nil
	case i < 0:
		return nil, host.Errorf(host.NotFound, "%s has no secret at %q; it has %s", c.Name, field, strings.Join(paths, ", "))
	default:
		return there[i], nil
	}
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
			main, err := s.fileHere()
			if err != nil {
				return err
			}
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
			file, err := s.fileHere()
			if err != nil {
				return err
			}
			cfg, err := config.Load(file)
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
