package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	terminal "golang.org/x/term"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
)

func newSecretCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "secret", Short: "Secrets of the configuration"}
	cmd.AddCommand(newSecretSeal(s))
	return cmd
}

func newSecretSeal(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "seal PLACE", Short: "Seal a secret for a place in the configuration", Args: cobra.ExactArgs(1),
		Long: `Seal a secret with the identity of secrets, for one place in the configuration, and
print what is to be written there. It opens nowhere else. The secret is asked for
at a terminal, else read from standard input.

Places: ` + strings.Join(placesOfSecrets(), ", "),
		Example: `  provost secret seal notify.ops.webhook.secret
  pass otel/key | provost secret seal tracing.headers.X-Key.secret`,
		RunE: func(cmd *cobra.Command, args []string) error {
			binding, err := bindingOf(args[0])
			if err != nil {
				return err
			}
			cfg, err := config.Load(configFile(s.config))
			if err != nil {
				return err
			}
			value, err := readSecret(cmd, args[0])
			if err != nil {
				return err
			}
			sealed, err := seal(cfg, binding, value)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "to be written at %s:\n", args[0])
			fmt.Fprintf(cmd.OutOrStdout(), "{sealed: %q}\n", sealed)
			return nil
		},
	}
}

// secretPlaces are where a secret may stand, and what one that is sealed there is
// bound to.
var secretPlaces = []struct {
	shown   string
	pattern *regexp.Regexp
	binding string
}{
	{"notify.NAME.webhook.secret", regexp.MustCompile(`^notify\.([^.]+)\.(webhook\.secret)$`), "notify/$1/$2"},
	{"notify.NAME.mail.password", regexp.MustCompile(`^notify\.([^.]+)\.(mail\.password)$`), "notify/$1/$2"},
	{"tracing.headers.NAME.secret", regexp.MustCompile(`^tracing\.(headers\.[^.]+)\.secret$`), "tracing/$1"},
	{"metrics.token", regexp.MustCompile(`^metrics\.token$`), tokenBinding},
	{"proxy.password", regexp.MustCompile(`^proxy\.password$`), "proxy.password"},
	{"access.oidc.client_secret", regexp.MustCompile(`^access\.oidc\.client_secret$`), "access/oidc.client_secret"},
	{"credentials.NAME.PATH", regexp.MustCompile(`^credentials\.([^.]+)\.(.+)$`), "credential/$1/$2"},
}

func placesOfSecrets() []string {
	list := make([]string, len(secretPlaces))
	for i, p := range secretPlaces {
		list[i] = p.shown
	}
	return list
}

// bindingOf is what a secret at a place is sealed for.
func bindingOf(place string) (string, error) {
	for _, p := range secretPlaces {
		if p.pattern.MatchString(place) {
			return p.pattern.ReplaceAllString(place, p.binding), nil
		}
	}
	return "", host.Errorf(host.Usage, "no secret stands at %q; the places are %s", place, strings.Join(placesOfSecrets(), ", "))
}

// readSecret asks for a secret, without showing it, or reads it where nobody
// sits at a terminal.
func readSecret(cmd *cobra.Command, what string) (string, error) {
	read := func() ([]byte, error) { return io.ReadAll(io.LimitReader(cmd.InOrStdin(), mostSecret)) }
	if in, ok := cmd.InOrStdin().(*os.File); ok && terminal.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", what)
		read = func() ([]byte, error) {
			defer fmt.Fprintln(cmd.ErrOrStderr())
			return terminal.ReadPassword(int(in.Fd()))
		}
	}
	b, err := read()
	if err != nil {
		return "", host.Errorf(host.Usage, "the secret can't be read: %w", err)
	}
	value := strings.TrimRight(string(b), "\r\n")
	if value == "" {
		return "", host.Errorf(host.InvalidInput, "the secret is empty")
	}
	return value, nil
}

// mostSecret bounds a secret that is read: a key in PEM has some 3 KB.
const mostSecret = 64 << 10
