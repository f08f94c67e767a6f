package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	terminal "golang.org/x/term"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
)

// signPassword is the environment variable with the password of a private key.
const signPassword = "PROVOST_SIGN_PASSWORD"

func newPluginKeygen() *cobra.Command {
	var passwordFile string
	var open bool
	cmd := &cobra.Command{
		Use:   "keygen [NAME]",
		Short: "Make a pair of keys to sign connectors with",
		Long: `Writes NAME.key, which signs and is nobody else's business, and NAME.pub, which
others name under signers. Both are minisign's, so minisign reads them too. The
password is asked for, or comes from --password-file or ` + signPassword + `.`,
		Example: "  provost plugin keygen example-ltd\n  provost plugin keygen ci --no-password",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "provost"
			if len(args) == 1 {
				name = args[0]
			}
			for _, file := range []string{name + ".key", name + ".pub"} {
				if _, err := os.Lstat(file); err == nil {
					return host.Errorf(host.AlreadyExists, "%s: is there already; a key is not written over. Name another, or move it away", file)
				}
			}
			password := ""
			if !open {
				var err error
				if password, err = askPassword(cmd, passwordFile, "password for "+name+".key", true); err != nil {
					return err
				}
			}
			public, private, err := artifact.GenerateKey(password)
			if err != nil {
				return err
			}
			if err := writeNew(name+".key", private, 0o600); err != nil {
				return err
			}
			if err := writeNew(name+".pub", public, 0o644); err != nil {
				return err
			}
			_, key, _ := strings.Cut(strings.TrimSpace(string(public)), "\n")
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s.key and %s.pub are written; keep the first to yourself\n\nsigners:\n  - {name: %s, key: %s}\n", name, name, slugOf(name), key)
			return err
		},
	}
	cmd.Flags().BoolVar(&open, "no-password", false, "the private key needs none; whoever reads the file can sign")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with the password; - is standard input")
	cmd.MarkFlagsMutuallyExclusive("no-password", "password-file")
	return cmd
}

// slugOf is a file's name as a configuration may call its owner.
func slugOf(file string) string {
	name := strings.ToLower(file[strings.LastIndexAny(file, `/\`)+1:])
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name), "-")
}

func newPluginSign() *cobra.Command {
	var keyFile, passwordFile string
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEYFILE",
		Short: "Sign a connector",
		Long: `Signs a connector (a .wasm file, or a folder or a manifest with what it asks for)
under the name and version that it describes itself with, and writes the
signature beside it: acme.wasm.minisig. The password of the key is asked for, or
comes from --password-file or ` + signPassword + `.`,
		Example: "  provost plugin sign acme.wasm --key example-ltd.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readSmall(keyFile)
			if err != nil {
				return host.Errorf(host.InvalidInput, "--key: %w", err)
			}
			a, err := trialArtifacts().Get(cmd.Context(), args[0], artifact.Options{})
			if err != nil {
				return err
			}
			if a.SignaturePath == "" {
				return host.Errorf(host.Usage, "%s: is not here; provost plugin pull it, sign the file, and push it", args[0])
			}
			found, err := inspect(cmd.Context(), a)
			if err != nil {
				return err
			}
			password := ""
			if artifact.IsSealed(text) {
				if password, err = askPassword(cmd, passwordFile, "password of "+keyFile, false); err != nil {
					return err
				}
			}
			key, err := artifact.OpenKey(text, password)
			if err != nil {
				return host.Errorf(host.CodeOf(err), "%s: %w", keyFile, err)
			}
			d := found.Description
			signature, err := artifact.Sign(key, a.Wasm, d.Name, d.Version, a.Wishes, time.Now())
			if err != nil {
				return err
			}
			if err := artifact.WriteFile(a.SignaturePath, signature); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s   %s %s is signed with the key %s\n", a.SignaturePath, d.Name, d.Version, artifact.KeyID(key.ID()))
			return err
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "private key (provost plugin keygen)")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with its password; - is standard input")
	_ = cmd.MarkFlagRequired("key") // the flag is there
	return cmd
}

func newPluginVerify() *cobra.Command {
	var file, key, digest, output string
	var names []string
	cmd := &cobra.Command{
		Use:   "verify SOURCE (--key KEY|FILE | --config FILE [--signer NAME])",
		Short: "Check who signed a connector",
		Long: `Checks that a connector is signed with a key, or by a signer of a configuration,
that it was not changed since, and that it describes itself as what was signed.`,
		Example: "  provost plugin verify acme.wasm --key example-ltd.pub\n  provost plugin verify oci://registry.example.com/connectors/acme:1.4 --config provost.yaml --signer example-ltd",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			o := artifact.Options{Digest: digest, RequireSignature: true, Accepted: names}
			store := trialArtifacts()
			switch {
			case key != "":
				signer, err := signerOf(key)
				if err != nil {
					return err
				}
				o.Signers = []artifact.Signer{signer}
			default:
				cfg, err := config.Load(file)
				if err != nil {
					return err
				}
				if o.Signers, err = knownSigners(cfg); err != nil {
					return err
				}
				if err := knowsSigners(o); err != nil {
					return err
				}
				store = newArtifacts(artifactCache(cfg), nil)
			}
			a, err := store.Get(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			found, err := inspect(cmd.Context(), a)
			if err != nil {
				return err
			}
			if output != term.FormatTable {
				return term.Write(cmd.OutOrStdout(), output, struct {
					Source    string     `json:"source"`
					SHA256    string     `json:"sha256"`
					Trust     string     `json:"trust"`
					Signature *signature `json:"signature"`
				}{args[0], a.Digest, trustText(a), signatureDocument(a.Signature)}, nil, nil)
			}
			d := found.Description
			if a.Builtin {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s is built in, and trusted as part of this binary   sha256 %s\n", d.Name, d.Version, a.Digest)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s is signed by %s with the key %s   sha256 %s\n", d.Name, d.Version, a.Signature.Signer, a.Signature.KeyID, a.Digest)
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "public key (RW…), or its file")
	cmd.Flags().StringVar(&file, "config", "", "configuration whose signers count")
	cmd.Flags().StringSliceVar(&names, "signer", nil, "only this signer of the configuration counts")
	cmd.Flags().StringVar(&digest, "digest", "", "SHA-256 that the module must have")
	cmd.MarkFlagsOneRequired("key", "config")
	cmd.MarkFlagsMutuallyExclusive("key", "config")
	cmd.MarkFlagsMutuallyExclusive("key", "signer")
	addFormatFlag(cmd, &output)
	return cmd
}

// knowsSigners is an error where one is named that the configuration lacks.
func knowsSigners(o artifact.Options) error {
	known := map[string]bool{}
	for _, s := range o.Signers {
		known[s.Name] = true
	}
	for _, name := range o.Accepted {
		if !known[name] {
			return host.Errorf(host.Usage, "--signer: the configuration has no signer %q; it has %s", name, strings.Join(append(sortedKeys(known), []string{"none"}[min(len(known), 1):]...), ", "))
		}
	}
	return nil
}

// signerOf reads a public key or its file.
func signerOf(text string) (artifact.Signer, error) {
	name := text
	key, err := artifact.ParsePublicKey(text)
	if err != nil {
		b, readErr := readSmall(text)
		if readErr != nil {
			return artifact.Signer{}, host.Errorf(host.Usage, "--key: is neither a minisign public key nor its file: %w", readErr)
		}
		if key, err = artifact.ParsePublicKey(string(b)); err != nil {
			return artifact.Signer{}, host.Errorf(host.InvalidInput, "--key: %s: %w", text, err)
		}
	} else {
		name = "its owner"
	}
	return artifact.Signer{Name: name, Key: key}, nil
}

// inspect describes an artifact, which must be what was signed.
func inspect(ctx context.Context, a artifact.Artifact) (found connector.Inspection, err error) {
	err = withSandbox(ctx, func(sb *sandbox.Runtime) error {
		if found, err = connector.Inspect(ctx, sb, a.Name, a.Wasm); err != nil {
			return err
		}
		return a.Signature.Agrees(found.Description.Name, found.Description.Version)
	})
	return found, err
}

// askPassword gets a password from a file, the environment or the person; twice
// where it is a new one.
func askPassword(cmd *cobra.Command, file, what string, fresh bool) (string, error) {
	if file != "" {
		b, err := readDocument(cmd.InOrStdin(), file)
		if err != nil {
			return "", err
		}
		return checkPassword(strings.TrimRight(string(b), "\r\n"), fresh)
	}
	if password := os.Getenv(signPassword); password != "" {
		return password, nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !terminal.IsTerminal(int(in.Fd())) {
		return "", host.Errorf(host.Usage, "the %s is needed: --password-file FILE, or %s", what, signPassword)
	}
	ask := func(what string) (string, error) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", what)
		b, err := terminal.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if errors.Is(err, io.EOF) {
			err = errors.New("there is none")
		}
		if err != nil {
			return "", host.Errorf(host.Usage, "the %s can't be read: %w", what, err)
		}
		return string(b), nil
	}
	password, err := ask(what)
	if err == nil && fresh {
		var again string
		if again, err = ask("again"); err == nil && again != password {
			err = host.Errorf(host.Usage, "the two are not the same; nothing is written")
		}
	}
	if err != nil {
		return "", err
	}
	return checkPassword(password, fresh)
}

func checkPassword(password string, fresh bool) (string, error) {
	if fresh && password == "" {
		return "", host.Errorf(host.Usage, "the password is empty; --no-password makes a key without one")
	}
	return password, nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	return nil
}
