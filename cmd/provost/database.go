package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// databaseState is what the command shows.
type databaseState struct {
	URL     string            `json:"url"`
	Version int               `json:"version"`
	Newest  int               `json:"newest"`
	Copies  []store.SavedCopy `json:"copies"`
}

func newDatabaseCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "database", Short: "The schema of the database, and the way back after an upgrade"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Show the version of the schema, and the copies from before upgrades", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := s.fileHere()
			if err != nil {
				return err
			}
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			st := databaseState{URL: withoutPassword(cfg.Database.URL), Newest: store.Newest(), Copies: []store.SavedCopy{}}
			if st.Version, err = store.Version(cmd.Context(), cfg.Database.URL); err != nil {
				return err
			}
			copies, err := store.Copies(cfg.Database.URL)
			if err != nil {
				return err
			}
			st.Copies = append(st.Copies, copies...)
			rows := [][]string{{"now", strconv.Itoa(st.Version), "", "", st.URL}}
			for _, c := range copies {
				rows = append(rows, []string{"copy", strconv.Itoa(c.Version), c.Date.Local().Format(time.DateTime), sizeText(c.Size), c.Path})
			}
			if err := term.Write(cmd.OutOrStdout(), s.output, st, []string{"WHAT", "SCHEMA", "MADE", "SIZE", "WHERE"}, rows); err != nil || s.output != "table" {
				return err
			}
			switch {
			case st.Version > st.Newest:
				fmt.Fprintf(cmd.OutOrStdout(), "this binary knows up to schema %d: a newer provost has used the database\n", st.Newest)
			case st.Version > 0 && st.Version < st.Newest:
				fmt.Fprintf(cmd.OutOrStdout(), "the next start of this binary brings it to schema %d\n", st.Newest)
			}
			return nil
		},
	}, newDatabaseRollback(s))
	return cmd
}

func newDatabaseRollback(s *session) *cobra.Command {
	var yes, keepTokens bool
	cmd := &cobra.Command{
		Use: "rollback COPY --yes", Short: "Put a copy from before an upgrade in the place of a SQLite database, for the older binary", Args: cobra.ExactArgs(1),
		Long: `Puts a copy that was made before an upgrade in the place of the database, as it
is: afterwards start the older binary. What was done since is not in it. So what
had not ended then looks before it makes an account, runs are paused, tokens that
may have been exchanged must be authorized again; reconcile each app as a whole
before anything else. The database that is there stays beside it. With PostgreSQL
use provost backup before an upgrade, and the older binary's provost restore.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return host.Errorf(host.Usage, "what was done since the copy is lost here: give --yes")
			}
			return s.rollback(cmd, args[0], keepTokens)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&keepTokens, "keep-tokens", false, keepTokensUsage)
	return cmd
}

func (s *session) rollback(cmd *cobra.Command, name string, keepTokens bool) error {
	ctx := cmd.Context()
	file, err := s.fileHere()
	if err != nil {
		return err
	}
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	copies, err := store.Copies(cfg.Database.URL)
	if err != nil {
		return err
	}
	chosen, known := store.SavedCopy{}, []string{}
	for _, c := range copies {
		known = append(known, filepath.Base(c.Path))
		if name == filepath.Base(c.Path) || sameFile(name, c.Path) {
			chosen = c
		}
	}
	if chosen.Path == "" {
		return host.Errorf(host.NotFound, "no copy is called %s; there is %s   -> provost database list", name, strings.Join(append(known, "no other"), ", "))
	}
	if c, ok := socketClient(cfg.Listen.Socket); ok {
		_ = c.close(ctx) // it only asked
		return host.Errorf(host.Conflict, "a daemon runs; stop it first")
	}
	if _, err := store.CheckCopy(ctx, chosen.Path); err != nil {
		return err
	}
	r, marked, err := putBack(ctx, cfg.Database.URL, chosen, store.Restoration{Actor: s.actor(), KeepTokens: keepTokens})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the database is that of %s, schema %d: start the provost that made it\n  what was there is kept: %s\n", chosen.Date.Local().Format(time.DateTime), chosen.Version, r.KeptAs)
	fmt.Fprintf(cmd.OutOrStdout(), "%s; reconcile each app as a whole first\n%s\n", marked, accessRestored)
	return nil
}

// putBack puts a copy in the place of the database. The copy itself stays: what
// takes the place is a copy of it.
func putBack(ctx context.Context, databaseURL string, c store.SavedCopy, mark store.Restoration) (*store.Replacement, store.Marked, error) {
	again := c.Path + ".restoring"
	_ = os.Remove(again) // of a run that was cut off
	if err := store.CopyFile(ctx, c.Path, again); err != nil {
		return nil, store.Marked{}, err
	}
	if err := belongLike(again, filepath.Dir(c.Path)); err != nil {
		return nil, store.Marked{}, err
	}
	mark.Taken, mark.Date, mark.Source = c.Date, time.Now().UTC(), c.Path
	r := &store.Replacement{File: again, Mark: mark}
	marked, err := store.Replace(ctx, databaseURL, r)
	if err != nil {
		_ = os.Remove(again) // the first error is the one to tell
	}
	return r, marked, err
}

// withoutPassword is a database's URL as it may be shown.
func withoutPassword(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}
