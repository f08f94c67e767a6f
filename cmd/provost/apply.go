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
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// An app or a credential that is applied is a file of its own in conf.d: the
// configuration stays the one place where they are declared, the daemon loads
// it like any other change, and a file that somebody else wrote is never
// touched.

// newApply is apply of a noun, whose entries stand in list.
func newApply(s *session, noun, list string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "apply -f FILE|-", Short: "Declare or change one " + noun + ", from a document with its keys", Args: cobra.NoArgs,
		Long: "Reads one " + noun + " as YAML or JSON, with the keys that an entry of " + list + ` has in the
configuration, checks the whole configuration with it, and keeps it in conf.d
beside the configuration. A running daemon takes it at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := readDocument(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			entry, err := config.ParseEntry(list, file, text)
			if err != nil {
				return err
			}
			main, err := s.fileHere()
			if err != nil {
				return err
			}
			now, err := config.Load(main)
			if err != nil {
				return err
			}
			target := entry.File(main)
			if in := now.DeclaredIn(list, entry.Name); in != "" && !sameFile(in, target) {
				return host.Errorf(host.Conflict, "the %s %s is declared in %s: change it there", noun, entry.Name, in)
			}
			if err := entry.Seal(func(path, value string) (string, error) { return seal(now, signin.Binding(entry.Name, path), value) }); err != nil {
				return err
			}
			if text, err = entry.Text(); err != nil {
				return err
			}
			next, err := config.LoadWith(main, target, text, checkConnectors(cmd.Context()))
			if err != nil {
				return err
			}
			before := fileDigestOf(target)
			if err := writeWhole(target, text); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is declared in %s\n", noun, entry.Name, target)
			s.declare(cmd.Context(), cmd.ErrOrStderr(), now, next, api.Declaration{Action: host.AuditAction(noun + ".apply"), Name: entry.Name, Before: before, After: fileDigest(text)})
			return s.taken(cmd.Context(), next)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the document; - is standard input")
	_ = cmd.MarkFlagRequired("file") // fails only for a flag that does not exist
	return cmd
}

// newDelete is delete of a noun. busy tells why one is in use, "" if it is not.
func newDelete(s *session, noun, list string, busy func(context.Context, *client, string) (string, error)) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Take away one " + noun + " that was applied", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			main, err := s.fileHere()
			if err != nil {
				return err
			}
			name := args[0]
			now, err := config.Load(main)
			if err != nil {
				return err
			}
			target := config.EntryFile(main, list, name)
			switch in := now.DeclaredIn(list, name); {
			case in == "":
				return host.Errorf(host.NotFound, "no %s named %q   -> provost %s list", noun, name, noun)
			case !sameFile(in, target):
				return host.Errorf(host.Conflict, "the %s %s is declared in %s: take it away there", noun, name, in)
			}
			if list == "credentials" { // --force helps nobody: the configuration would be wrong
				if apps := appsWith(now, name); len(apps) > 0 {
					return host.Errorf(host.Conflict, "the credential %s is used by %s: give %s another first", name, strings.Join(apps, ", "), map[bool]string{true: "it", false: "them"}[len(apps) == 1])
				}
			}
			next, err := config.LoadWith(main, target, nil, checkConnectors(cmd.Context()))
			if err != nil {
				return err
			}
			if !force {
				err := s.with(cmd.Context(), func(ctx context.Context, c *client) error {
					why, err := busy(ctx, c, name)
					if err == nil && why != "" {
						return host.Errorf(host.Conflict, "the %s %s %s; --force deletes it all the same", noun, name, why)
					}
					return err
				})
				if err != nil {
					return err
				}
			}
			if list == "credentials" { // while its server is still known
				if err := s.with(cmd.Context(), func(ctx context.Context, c *client) error {
					return c.do(ctx, http.MethodDelete, "/api/v1/credentials/"+url.PathEscape(name)+"/authorizations", nil, nil, nil)
				}); err != nil {
					return err
				}
			}
			before := fileDigestOf(target)
			if err := os.Remove(target); err != nil {
				return host.Errorf(host.Internal, "%w", err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is declared no more\n", noun, name)
			s.declare(cmd.Context(), cmd.ErrOrStderr(), now, next, api.Declaration{Action: host.AuditAction(noun + ".delete"), Name: name, Before: before})
			return s.taken(cmd.Context(), next)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it although it is in use")
	return cmd
}

// appInUse tells why an app can't just go.
func appInUse(ctx context.Context, c *client, name string) (string, error) {
	var apps []api.App
	if err := c.do(ctx, http.MethodGet, "/api/v1/apps", nil, nil, &apps); err != nil {
		return "", err
	}
	for _, a := range apps {
		if a.Config.AppName != name {
			continue
		}
		if n := a.Accounts[host.Linked]; n > 0 {
			return fmt.Sprintf("has %d linked accounts", n), nil
		}
		var open int64
		for state, n := range a.Requests {
			if !state.Ended() {
				open += n
			}
		}
		if open > 0 {
			return fmt.Sprintf("has %d open requests", open), nil
		}
	}
	return "", nil
}

// appsWith are the apps that use a credential.
func appsWith(c *config.Config, credential string) []string {
	var list []string
	for _, a := range c.Apps {
		if a.Credential == credential {
			list = append(list, "the app "+a.Name)
		}
	}
	return list
}

// notBusy is for what is in use by nothing that its deletion would not have told
// of before.
func notBusy(context.Context, *client, string) (string, error) { return "", nil }

const longestDocument = 1 << 20

func readDocument(stdin io.Reader, file string) ([]byte, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "%w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, longestDocument+1))
	if err == nil && len(b) > longestDocument {
		err = host.Errorf(host.InvalidInput, "the document is larger than %d bytes", longestDocument)
	}
	return b, err
}

// seal keeps a secret that stands in a document from being stored as it is.
func seal(cfg *config.Config, binding, value string) (string, error) {
	sealer, err := newSealer(cfg.Secrets)
	if err != nil {
		return "", err
	}
	if sealer == nil {
		return "", host.Errorf(host.InvalidInput, "the document has a secret, and the configuration names no identity to seal it with: set secrets.identity_file to a file that has one (provost credential identity makes it), or name the secret with env or file")
	}
	return sealer.Seal(secret.New(value), binding)
}

func sameFile(a, b string) bool {
	x, errA := filepath.Abs(a)
	y, errB := filepath.Abs(b)
	return errA == nil && errB == nil && x == y
}

// writeWhole writes a file so that nobody ever reads half of it. What root writes
// the daemon's user can read where the folder is so.
func writeWhole(name string, text []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return host.Errorf(host.Internal, "%w", err)
	}
	f, err := os.CreateTemp(dir, ".apply-*")
	if err != nil {
		return host.Errorf(host.Internal, "%w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = belongLike(f.Name(), dir)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to tell
		return host.Errorf(host.Internal, "%w", err)
	}
	return nil
}

// taken waits until the daemon, where one runs, has loaded the configuration,
// and tells what it says if it refuses it.
func (s *session) taken(ctx context.Context, cfg *config.Config) error {
	c, ok := socketClient(cfg.Listen.Socket)
	if !ok {
		return nil
	}
	defer func() { _ = c.close(ctx) }() // it has answered
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var st api.Status
		if err := c.do(ctx, http.MethodGet, "/api/v1/status", nil, nil, &st); err != nil {
			return err
		}
		switch cfg.Digest() {
		case st.Config:
			return nil
		case st.RefusedConfig:
			return host.Errorf(host.InvalidInput, "it is stored, but the daemon refuses the configuration with it: %s", st.LastReloadError)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return host.Errorf(host.Unavailable, "it is stored; the daemon has not taken it yet   -> provost status")
		}
	}
}
