package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/backup"
)

// madeBackup is what the command says of a backup.
type madeBackup struct {
	File     string          `json:"file"`
	Size     int64           `json:"size"`
	SHA256   string          `json:"sha256"`
	Manifest backup.Manifest `json:"manifest"`
}

func newBackupCommand(s *session) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the database and the configuration to a file, while everything goes on", Args: cobra.ExactArgs(1),
		Long: `Writes the database as it is at one moment, and the configuration with its conf.d,
to a compressed archive; - is standard output. The daemon, where one runs, goes
on meanwhile. The archive is read again before it gets its name, so a file of
that name is a whole backup. It holds what is known of people: keep it as you
keep the database.

Not in it are the age identity, the files, variables and vaults that secrets
come from, connectors that are not built in, and the cache of what is compiled.
A backup is worth nothing without the identity: keep that one elsewhere.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if args[0] == "-" {
					answer, err := c.send(ctx, http.MethodPost, api.BackupPath, nil, "application/json", nil)
					if err != nil {
						return err
					}
					defer answer.Body.Close()
					return passOn(ctx, cmd.OutOrStdout(), answer.Body)
				}
				made, err := takeBackup(ctx, c, args[0], force)
				if err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, made, nil, nil)
				}
				m := made.Manifest
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s of %s, schema %d, %d files of configuration   %s\nsha256 %s\n", made.File, sizeText(made.Size),
					databaseText(m.Database), m.Schema, len(m.Entries)-1, m.Created.Local().Format(time.DateTime), made.SHA256)
				if len(m.SealedWith) > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "what is sealed opens only with the key %s, which is not in it\n", strings.Join(m.SealedWith, ", "))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	return cmd
}

// takeBackup writes a backup beside the file, reads it again, and gives it the
// name when it is whole.
func takeBackup(ctx context.Context, c *client, file string, force bool) (made madeBackup, err error) {
	if _, err := os.Lstat(file); err == nil && !force {
		return made, host.Errorf(host.InvalidInput, "%s is there already; --force writes over it", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // for its owner's eyes only
	if err != nil {
		return made, host.Errorf(host.InvalidInput, "%w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	answer, err := c.send(ctx, http.MethodPost, api.BackupPath, nil, "application/json", nil)
	if err != nil {
		return made, err
	}
	defer answer.Body.Close()
	sum := sha256.New()
	if made.Size, err = io.Copy(io.MultiWriter(f, sum), answer.Body); err != nil {
		return made, host.Errorf(host.Unavailable, "the backup was cut off, and nothing is kept of it: %w", err)
	}
	if err := f.Sync(); err != nil {
		return made, host.Errorf(host.Unavailable, "%w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return made, host.Errorf(host.Unavailable, "%w", err)
	}
	if made.Manifest, err = backup.Verify(ctx, f); err != nil {
		return made, fmt.Errorf("the backup is not whole, and nothing is kept of it; the daemon's log may say why: %w", err)
	}
	made.File, made.SHA256 = file, hex.EncodeToString(sum.Sum(nil))
	if err := os.Rename(f.Name(), file); err != nil {
		return made, host.Errorf(host.InvalidInput, "%w", err)
	}
	return made, nil
}

// passOn copies an archive, and fails where it is not whole.
func passOn(ctx context.Context, w io.Writer, in io.Reader) error {
	checked, end := io.Pipe()
	verified := make(chan error, 1)
	go func() {
		_, err := backup.Verify(ctx, checked)
		_ = checked.CloseWithError(err) // always nil
		verified <- err
	}()
	_, err := io.Copy(io.MultiWriter(w, end), in)
	_ = end.CloseWithError(err) // always nil
	if wrong := <-verified; wrong != nil {
		return wrong
	}
	return err
}

func databaseText(dialect string) string {
	if dialect == "postgres" {
		return "PostgreSQL"
	}
	return "SQLite"
}

// sizeText is a number of bytes for a person.
func sizeText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
