package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func newSettingCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "setting", Short: "Apps, credentials and plugins that are stored in the database, beside those of the files",
		Long: `What the API and the console make is stored in the database, and all machines of
it have it. What a file declares goes before it, and is changed in the file.`}
	cmd.AddCommand(newSettingList(s), newSettingGet(s), newSettingPut(s), newSettingDelete(s))
	return cmd
}

func settingPath(list, name string) string {
	return "/api/v1/settings/" + url.PathEscape(list) + "/" + url.PathEscape(name)
}

func newSettingList(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "list [apps|credentials|plugins]", Short: "List what is declared, where, and by whom", Args: cobra.MaximumNArgs(1), ValidArgs: config.Lists,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				path := "/api/v1/settings"
				if len(args) == 1 {
					path += "/" + url.PathEscape(args[0])
				}
				var list []api.Setting
				if err := c.do(ctx, http.MethodGet, path, nil, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, one := range list {
					where, state := one.File, "in use"
					if where == "" {
						where = fmt.Sprintf("database, by %s", one.ChangedBy)
					}
					if one.Problem != "" {
						state = "not used: " + shortened(one.Problem)
					}
					rows[i] = []string{one.List, one.Name, where, countText(one.Revision), state}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"LIST", "NAME", "DECLARED IN", "REVISION", "STATE"}, rows)
			})
		},
	}
}

func newSettingGet(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "get LIST NAME", Short: "Show the document of one; a secret is never shown", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var one api.Setting
				if err := c.do(ctx, http.MethodGet, settingPath(args[0], args[1]), nil, nil, &one); err != nil {
					return err
				}
				if s.output == "table" {
					return term.Write(cmd.OutOrStdout(), "yaml", one.Document, nil, nil)
				}
				return term.Write(cmd.OutOrStdout(), s.output, one, nil, nil)
			})
		},
	}
}

func newSettingPut(s *session) *cobra.Command {
	var file string
	var revision int64
	cmd := &cobra.Command{
		Use: "put LIST -f FILE|-", Short: "Store one, from a document with the keys of an entry of the list", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readDocument(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			entry, err := config.ParseEntry(args[0], file, text)
			if err != nil {
				return err
			}
			document, err := entry.JSON()
			if err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var stored api.Setting
				if err := c.doAt(ctx, http.MethodPut, settingPath(args[0], entry.Name), revision, json.RawMessage(document), &stored); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is stored, as revision %d\n", nouns[args[0]], entry.Name, stored.Revision)
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the document; - is standard input")
	cmd.Flags().Int64Var(&revision, "revision", 0, "the revision that it must have, so that nobody's change is lost")
	_ = cmd.MarkFlagRequired("file") // fails only for a flag that does not exist
	return cmd
}

func newSettingDelete(s *session) *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use: "delete LIST NAME", Short: "Take one away that is stored", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if err := c.doAt(ctx, http.MethodDelete, settingPath(args[0], args[1]), revision, nil, nil); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is stored no more\n", nouns[args[0]], args[1])
				return nil
			})
		},
	}
	cmd.Flags().Int64Var(&revision, "revision", 0, "the revision that it must have")
	return cmd
}

// doAt is do of a change that is of a revision; 0 is any.
func (c *client) doAt(ctx context.Context, method, path string, revision int64, in, out any) error {
	if revision > 0 {
		ctx = context.WithValue(ctx, matchKey{}, strconv.Quote(strconv.FormatInt(revision, 10)))
	}
	return c.do(ctx, method, path, nil, in, out)
}

type matchKey struct{}

func newPluginUpload(s *session) *cobra.Command {
	var signature string
	cmd := &cobra.Command{
		Use: "upload FILE.wasm", Short: "Hand a connector to the daemon; a stored plugin can then name it", Args: cobra.ExactArgs(1),
		Long: "Uploads a connector, with its signature where FILE.wasm.minisig or --signature has\none, and shows what it wants. A plugin of the settings names it as its source.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, contentType, err := uploadForm(args[0], signature)
			if err != nil {
				return err
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				answer, err := c.send(ctx, http.MethodPost, api.UploadPath, nil, contentType, body)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				var up api.Upload
				if err := json.NewDecoder(answer.Body).Decode(&up); err != nil {
					return host.Errorf(host.Internal, "the daemon's answer can't be read: %w", err)
				}
				trust := up.Signer
				if trust == "" {
					trust = "nobody: it " + up.Unsigned
				}
				return term.Write(cmd.OutOrStdout(), s.output, up, []string{"CONNECTOR", "VERSION", "SIZE", "SIGNED BY", "SOURCE"},
					[][]string{{up.Description.Name, up.Description.Version, bytesText(up.Size), trust, up.Source}})
			})
		},
	}
	cmd.Flags().StringVar(&signature, "signature", "", "its minisign signature (default: FILE.wasm.minisig, if it is there)")
	return cmd
}

func uploadForm(path, signature string) (io.Reader, string, error) {
	module, err := os.ReadFile(path)
	if err != nil {
		return nil, "", host.Errorf(host.InvalidInput, "%w", err)
	}
	signed, err := os.ReadFile(path + ".minisig")
	if signature != "" {
		signed, err = os.ReadFile(signature)
	} else if os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		return nil, "", host.Errorf(host.InvalidInput, "%w", err)
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for name, text := range map[string][]byte{"module": module, "signature": signed} {
		if len(text) == 0 && name == "signature" {
			continue
		}
		part, err := form.CreateFormFile(name, name)
		if err != nil {
			return nil, "", err
		}
		if _, err := part.Write(text); err != nil {
			return nil, "", err
		}
	}
	return &b, form.FormDataContentType(), form.Close()
}
