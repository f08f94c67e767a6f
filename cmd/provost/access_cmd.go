package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	terminal "golang.org/x/term"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// Where tokens are, of the host and of all people, and those of who asks.
const (
	tokensPath    = "/api/v1/access/tokens"
	ownTokensPath = "/api/v1/access/me/tokens"
)

func tokensOf(own bool) string {
	if own {
		return ownTokensPath
	}
	return tokensPath
}

func newTokenCommand(s *session) *cobra.Command {
	var own bool
	cmd := &cobra.Command{Use: "token", Short: "Tokens that programs use the API with"}
	cmd.PersistentFlags().BoolVar(&own, "own", false, "with --server: tokens of the person whose token it is, which may no more than that person may whenever they are used")
	cmd.AddCommand(newTokenCreate(s, &own), &cobra.Command{
		Use: "list", Short: "List tokens, with when each was last used", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []*access.APIToken
				if err := c.do(ctx, http.MethodGet, tokensOf(own), nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, t := range list {
					rows[i] = []string{t.Name, t.Prefix, rightsText(t.Rights), untilText(t.ExpiresDate), usedText(t.LastDate, "never"), t.CreatedBy, map[bool]string{true: "the person", false: "the host"}[t.IsSet()]}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"NAME", "PREFIX", "MAY", "EXPIRES", "LAST USE", "MADE BY", "OF"}, rows)
			})
		},
	}, &cobra.Command{
		Use: "revoke NAME|PREFIX", Short: "End a token, at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.deleted(cmd, tokensOf(own)+"/"+url.PathEscape(args[0]), args[0]+" is revoked")
		},
	})
	return cmd
}

func newSessionCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "session", Short: "Browsers that are signed in at the console"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List who is signed in, the last used first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []api.Session
				if err := c.do(ctx, http.MethodGet, "/api/v1/access/sessions", nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, one := range list {
					rows[i] = []string{one.Id, cmp.Or(one.Name, one.Subject), usedText(&one.CreatedDate, ""), usedText(&one.LastDate, ""), usedText(&one.ExpiresDate, "")}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"ID", "WHO", "SIGNED IN", "LAST USE", "ENDS"}, rows)
			})
		},
	}, &cobra.Command{
		Use: "end ID", Short: "Sign a browser out, at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.deleted(cmd, "/api/v1/access/sessions/"+url.PathEscape(args[0]), "that browser is signed out")
		},
	})
	return cmd
}

// deleted sends a DELETE, and says what is different now.
func (s *session) deleted(cmd *cobra.Command, path, done string) error {
	return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
		if err := c.do(ctx, http.MethodDelete, path, nil, nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), done)
		return nil
	})
}

func rightsText(rights []access.Right) string {
	var parts []string
	for _, r := range rights {
		text := r.Role
		for _, p := range r.Permissions {
			text = strings.TrimPrefix(text+", "+string(p), ", ")
		}
		if r.Apps != nil {
			text += " for " + strings.Join(r.Apps, ", ")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func usedText(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.Local().Format(time.DateTime)
}

func untilText(t time.Time) string {
	if text := t.Local().Format(time.DateOnly); t.After(time.Now()) {
		return text
	} else {
		return text + ", over"
	}
}

func newTokenCreate(s *session, own *bool) *cobra.Command {
	var right access.Right
	var permissions []string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token, and print it this once", Args: cobra.ExactArgs(1),
		Example: "  provost token create nightly --role read-only\n  provost token create acme-sync --role app-owner --app acme --for 720h",
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, p := range permissions {
				right.Permissions = append(right.Permissions, access.Permission(p))
			}
			spec := access.TokenSpec{Name: args[0], Rights: []access.Right{right}, Until: time.Now().Add(lasts)}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var made api.NewToken
				if err := c.do(ctx, http.MethodPost, tokensOf(*own), nil, spec, &made); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, made, nil, nil)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s may %s until %s. It is not shown again:\n", made.Name, rightsText(made.Rights), untilText(made.ExpiresDate))
				fmt.Fprintln(cmd.OutOrStdout(), made.Token)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&right.Role, "role", "", "role: "+roleNames())
	f.StringSliceVar(&permissions, "permission", nil, "permissions in place of a role, such as \"View Setup and Configuration\"")
	f.StringSliceVar(&right.Apps, "app", nil, "only for these apps")
	f.DurationVar(&lasts, "for", 90*24*time.Hour, "how long it lasts, as long as access.tokens.lifetime at most (8784h)")
	return cmd
}

func roleNames() string {
	var names []string
	for _, r := range access.Roles {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

func newAdminCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Administrators who sign in with a password of this host's own"}
	cmd.AddCommand(newAdminPassword(s, "create NAME", "Make an administrator", func(ctx context.Context, c *client, name, password string) error {
		return c.do(ctx, http.MethodPost, "/api/v1/access/administrators", nil, map[string]string{"name": name, "password": password}, nil)
	}, "%s can sign in at the console"),
		newAdminPassword(s, "reset-password NAME", "Give an administrator another password; one-time codes are set up anew", func(ctx context.Context, c *client, name, password string) error {
			return c.do(ctx, http.MethodPost, "/api/v1/access/administrators/"+url.PathEscape(name)+"/reset-password", nil, map[string]string{"password": password}, nil)
		}, "%s has another password, and is signed out everywhere"),
		&cobra.Command{
			Use: "list", Short: "List administrators, with when each last signed in", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
					var list []api.Administrator
					if err := c.do(ctx, http.MethodGet, "/api/v1/access/administrators", nil, nil, &list); err != nil {
						return err
					}
					rows := make([][]string, len(list))
					for i, a := range list {
						rows[i] = []string{a.Name, map[bool]string{true: "yes", false: "no"}[a.TOTP], usedText(a.LastDate, "never"), a.CreatedBy}
					}
					return term.Write(cmd.OutOrStdout(), s.output, list, []string{"NAME", "ONE-TIME CODES", "LAST SIGN-IN", "MADE BY"}, rows)
				})
			},
		}, &cobra.Command{
			Use: "delete NAME", Short: "Take an administrator away, signed out everywhere", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return s.deleted(cmd, "/api/v1/access/administrators/"+url.PathEscape(args[0]), args[0]+" is no administrator any more")
			},
		}, &cobra.Command{
			Use: "reset-totp NAME", Short: "Ask an administrator for no one-time codes, who has lost the app", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
					if err := c.do(ctx, http.MethodPost, "/api/v1/access/administrators/"+url.PathEscape(args[0])+"/reset-totp", nil, nil, nil); err != nil {
						return err
					}
					fmt.Fprintf(cmd.ErrOrStderr(), "%s signs in with the password alone, until one-time codes are set up anew\n", args[0])
					return nil
				})
			},
		})
	return cmd
}

func newAdminPassword(s *session, use, short string, do func(ctx context.Context, c *client, name, password string) error, done string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := newPassword(cmd, file)
			if err != nil {
				return err
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if err := do(ctx, c, args[0], password); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), done+"\n", args[0])
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&file, "password-file", "", "file with the password, - for standard input; without it, it is asked for")
	return cmd
}

// newPassword reads a password from a file, or twice from the terminal.
func newPassword(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		b, err := readDocument(cmd.InOrStdin(), file)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !terminal.IsTerminal(int(in.Fd())) {
		return "", host.Errorf(host.Usage, "there is no terminal to ask for the password; give --password-file")
	}
	var typed []string
	for _, ask := range []string{"New password: ", "Again: "} {
		fmt.Fprint(cmd.ErrOrStderr(), ask)
		b, err := terminal.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", host.Errorf(host.Cancelled, "no password was typed: %w", err)
		}
		typed = append(typed, string(b))
	}
	if typed[0] != typed[1] {
		return "", host.Errorf(host.InvalidInput, "the two passwords differ")
	}
	return typed[0], nil
}

func newRoleCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "role", Short: "What people may do"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the roles that were given, by the configuration or by hand", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var list []*access.Assignment
				if err := c.do(ctx, http.MethodGet, "/api/v1/access/assignments", nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, a := range list {
					kind, whom, by := whomOf(a)
					rows[i] = []string{a.Role, kind, whom, strings.Join(a.Apps, ", "), by, a.Id}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"ROLE", "OF", "NAME", "APPS", "GIVEN BY", "ID"}, rows)
			})
		},
	}, newRoleAssign(s), &cobra.Command{
		Use: "unassign ID", Short: "Take a role back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.deleted(cmd, "/api/v1/access/assignments/"+url.PathEscape(args[0]), "the role is taken back")
		},
	})
	return cmd
}

func whomOf(a *access.Assignment) (kind, name, by string) {
	by = a.CreatedBy
	if a.Declared {
		by = "the configuration"
	}
	switch {
	case a.User != "":
		return "user", a.User, by
	case a.Group != "":
		return "group", a.Group, by
	default:
		return "group of the provider", a.OIDCGroup, by
	}
}

func newRoleAssign(s *session) *cobra.Command {
	var in api.NewAssignment
	cmd := &cobra.Command{
		Use: "assign ROLE", Short: "Give a role to a user, to a group of the configuration, or to one of the OpenID provider", Args: cobra.ExactArgs(1),
		Example: "  provost role assign auditor --user grace\n  provost role assign app-owner --oidc-group crm-team --app acme",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Role = args[0]
			if _, ok := access.RoleNamed(in.Role); !ok {
				return host.Errorf(host.Usage, "there is no role %q; there are %s", in.Role, roleNames())
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var made access.Assignment
				if err := c.do(ctx, http.MethodPost, "/api/v1/access/assignments", nil, in, &made); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, made, nil, nil)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "given; provost role unassign %s takes it back\n", made.Id)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.User, "user", "", "id or username")
	f.StringVar(&in.Group, "group", "", "group of the configuration")
	f.StringVar(&in.OIDCGroup, "oidc-group", "", "group that the OpenID provider tells of")
	f.StringSliceVar(&in.Apps, "app", nil, "only for these apps")
	return cmd
}
