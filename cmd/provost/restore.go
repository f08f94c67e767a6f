package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/backup"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
)

// restored is what the command says at its end.
type restored struct {
	Manifest backup.Manifest `json:"manifest"`
	Marked   store.Marked    `json:"inDoubt"`
	// Kept are where what was there went.
	Kept []string `json:"kept,omitempty"`
	// Apps are due for a reconciliation.
	Apps     []string `json:"apps"`
	Warnings []string `json:"warnings,omitempty"`
}

func newRestoreCommand(s *session) *cobra.Command {
	r := restoration{session: s}
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database and the configuration", Args: cobra.ExactArgs(1),
		Long: `Puts a backup in the place of the database and the configuration, while no daemon
runs. Everything is checked before anything is changed: the digests, the schema's
version, the database itself, the configuration, and that the identity opens what
is sealed. What is there is only replaced with --force, and stays beside it.

Since a backup is older than the targets, whatever had not ended in it may have
been done since: such requests look before they make an account, runs are paused,
tokens that may have been exchanged must be authorized again, and until each app
was reconciled as a whole nobody gets an account that was not looked for first.
Everybody signs in again, and the API's tokens end, since some may have been
revoked: make new ones, or keep them with --keep-tokens.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(s.output); err != nil {
				return err
			}
			done, err := r.run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if s.output != "table" {
				return term.Write(cmd.OutOrStdout(), s.output, done, nil, nil)
			}
			done.tell(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.force, "force", false, "replace what is there; it stays beside it")
	cmd.Flags().BoolVar(&r.databaseOnly, "database-only", false, "leave the configuration as it is")
	cmd.Flags().BoolVar(&r.withoutKeys, "without-keys", false, "also where something sealed can't be opened")
	cmd.Flags().BoolVar(&r.keepTokens, "keep-tokens", false, keepTokensUsage)
	return cmd
}

const (
	keepTokensUsage = "keep the API's tokens; those that were revoked since are good again"
	// accessRestored is what a restoration can't mend of who may do what.
	accessRestored = "Administrators, their passwords and recovery codes, and roles are those of then, also what was taken away since:\n  provost admin list; provost role list; provost token list"
)

// restoration is one run of the command.
type restoration struct {
	*session
	force, databaseOnly, withoutKeys, keepTokens bool

	now      time.Time
	file     string // the configuration's
	manifest backup.Manifest
	main     []byte
	more     map[string][]byte
	cfg      *config.Config
	done     restored
}

func (r *restoration) run(ctx context.Context, archive string) (restored, error) {
	var err error
	r.now = time.Now().UTC()
	file, err := r.fileHere()
	if err != nil {
		return r.done, err
	}
	if r.file, err = filepath.Abs(file); err != nil {
		return r.done, host.Errorf(host.InvalidInput, "%w", err)
	}
	if c, ok := socketClient(config.Socket(r.file)); ok {
		return r.done, errors.Join(host.Errorf(host.Conflict, "a daemon runs; stop it first"), c.close(ctx))
	}
	if err := r.read(ctx, archive); err != nil {
		return r.done, err
	}
	if err := r.checkConfig(); err != nil {
		return r.done, err
	}
	if err := r.checkKeys(); err != nil {
		return r.done, err
	}
	if r.manifest.Database == "sqlite" {
		err = r.restoreSQLite(ctx, archive)
	} else {
		err = r.restorePostgres(ctx, archive)
	}
	if err != nil {
		return r.done, err
	}
	if !r.databaseOnly {
		if err := r.writeConfig(); err != nil {
			return r.done, fmt.Errorf("the database is restored, and the configuration is not: run it again with --force: %w", err)
		}
	}
	r.done.Manifest = r.manifest
	for _, a := range r.cfg.Apps {
		r.done.Apps = append(r.done.Apps, a.Name)
	}
	return r.done, nil
}

// read reads the archive to its end, so that it is known to be whole, and keeps
// the configuration.
func (r *restoration) read(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	r.more = map[string][]byte{}
	return backup.Read(f, func(m backup.Manifest) error {
		r.manifest = m
		return r.knowsSchema()
	}, func(e backup.Entry, in io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Name == backup.DatabaseName {
			_, err := io.Copy(io.Discard, in)
			return err
		}
		text, err := io.ReadAll(in)
		if name, inConfD := strings.CutPrefix(e.Name, backup.ConfigPrefix+"conf.d/"); inConfD {
			r.more[name] = text
		} else if e.Name == backup.ConfigPrefix+r.manifest.Config {
			r.main = text
		}
		return err
	})
}

func (r *restoration) knowsSchema() error {
	if r.manifest.Schema > store.Newest() {
		return host.Errorf(host.Unsupported, "the backup has schema version %d, and this binary knows up to %d: restore it with provost %s or a newer one", r.manifest.Schema, store.Newest(), r.manifest.Provost)
	}
	return nil
}

// checkConfig finds the configuration that counts: that of the backup, or the
// one that is there.
func (r *restoration) checkConfig() (err error) {
	if r.databaseOnly {
		if r.cfg, err = config.Load(r.file); err != nil {
			return err
		}
	} else {
		if filepath.Ext(r.file) != filepath.Ext(r.manifest.Config) {
			return host.Errorf(host.InvalidInput, "the backup's configuration is %s: name a file of that kind with --config", r.manifest.Config)
		}
		if differ := r.different(); len(differ) > 0 && !r.force {
			return host.Errorf(host.Conflict, "there is another configuration: %s; --force replaces it and keeps it beside, --database-only leaves it", strings.Join(differ, ", "))
		}
		if r.cfg, err = config.LoadText(r.file, r.main, r.more); err != nil {
			return err
		}
	}
	lite := strings.HasPrefix(r.cfg.Database.URL, "sqlite:")
	if lite != (r.manifest.Database == "sqlite") {
		return host.Errorf(host.InvalidInput, "the backup is of %s, and database.url names another kind of database", databaseText(r.manifest.Database))
	}
	return nil
}

// different names the files of the configuration that are there and are others
// than the backup's.
func (r *restoration) different() (list []string) {
	check := func(file string, text []byte) {
		if now, err := os.ReadFile(file); err == nil && (text == nil || !bytes.Equal(now, text)) {
			list = append(list, file)
		}
	}
	check(r.file, r.main)
	for _, file := range r.confD() {
		check(file, r.more[filepath.Base(file)])
	}
	return list
}

// confD are the files of conf.d that are there.
func (r *restoration) confD() []string {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(r.file), "conf.d", "*.yaml")) // the only error is a pattern that can't be, from brackets in the path
	return found
}

// checkKeys tells whether what is sealed in the backup can be opened. Secrets
// from elsewhere need only be there when the daemon runs.
func (r *restoration) checkKeys() error {
	sealer, err := newSealer(r.cfg.Secrets)
	var wrong []string
	if err != nil {
		wrong = append(wrong, "the identity: "+err.Error())
	}
	for _, key := range r.manifest.SealedWith {
		if sealer == nil || !sealer.Knows(key) {
			wrong = append(wrong, "authorizations are sealed with the key "+key+", which is not here")
		}
	}
	wrong = append(wrong, unopened(r.cfg, sealer)...)
	if len(wrong) == 0 {
		return nil
	}
	if r.withoutKeys {
		r.done.Warnings = append(r.done.Warnings, wrong...)
		return nil
	}
	return host.Errorf(host.InvalidInput, "what is sealed can't be opened; bring the identity back, or go on with --without-keys and authorize again:\n  %s", strings.Join(wrong, "\n  "))
}

// unopened tells what of a configuration is sealed with a key that is not here.
func unopened(cfg *config.Config, sealer *secret.Sealer) (wrong []string) {
	cfg.Sealed(func(key, sealed string) {
		with := secret.SealedWith(sealed)
		if sealer == nil || with != "" && !sealer.Knows(with) {
			wrong = append(wrong, strings.TrimSpace(key+" is sealed with the key "+with)+", which is not here")
		}
	})
	return wrong
}

func (r *restoration) mark() store.Restoration {
	return store.Restoration{Taken: r.manifest.Created, Date: r.now, Actor: r.actor(), KeepTokens: r.keepTokens,
		Source: "backup of " + r.manifest.Created.Format(time.RFC3339) + " by provost " + r.manifest.Provost}
}

// extract writes the database of the archive into a folder.
func (r *restoration) extract(ctx context.Context, archive, dir string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", host.Errorf(host.InvalidInput, "%w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	m, err := backup.Extract(ctx, f, dir, func(backup.Manifest) error { return r.knowsSchema() })
	if err == nil && (!m.Created.Equal(r.manifest.Created) || !slices.Equal(m.Entries, r.manifest.Entries)) {
		err = host.Errorf(host.Conflict, "%s was replaced meanwhile; run it again", archive)
	}
	return filepath.Join(dir, backup.DatabaseName), err
}

// unfinishedRestore is what the folder of a restore under way is called.
const unfinishedRestore = ".restore-*"

func (r *restoration) restoreSQLite(ctx context.Context, archive string) (err error) {
	path := strings.TrimPrefix(strings.TrimPrefix(r.cfg.Database.URL, "sqlite:"), "//")
	if _, err := os.Stat(path); err == nil && !r.force {
		return host.Errorf(host.Conflict, "the database %s is there already; --force replaces it and keeps it beside", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return host.Errorf(host.InvalidInput, "the database's folder: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), unfinishedRestore)) // the only error is a pattern that can't be, from brackets in the path
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return host.Errorf(host.InvalidInput, "what is left of a restore that was cut off can't be removed: %w", err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), unfinishedRestore)
	if err != nil {
		return host.Errorf(host.InvalidInput, "the database's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	database, err := r.extract(ctx, archive, dir)
	if err != nil {
		return err
	}
	if _, err := store.CheckCopy(ctx, database); err != nil {
		return err
	}
	// Brought up to date, and used, before it takes the place.
	if err := r.open(ctx, "sqlite://"+database); err != nil {
		return err
	}
	if _, err := store.CheckCopy(ctx, database); err != nil {
		return err
	}
	replacement := &store.Replacement{File: database, Mark: r.mark()}
	if err := belongLike(database, filepath.Dir(path)); err != nil {
		return err
	}
	if r.done.Marked, err = store.Replace(ctx, r.cfg.Database.URL, replacement); err != nil {
		return err
	}
	if replacement.KeptAs != "" {
		r.done.Kept = append(r.done.Kept, replacement.KeptAs)
	}
	return belongLike(path+".lock", filepath.Dir(path))
}

func (r *restoration) restorePostgres(ctx context.Context, archive string) (err error) {
	dir, err := os.MkdirTemp("", "provost-restore-*")
	if err != nil {
		return host.Errorf(host.Unavailable, "%w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	database, err := r.extract(ctx, archive, dir)
	if err != nil {
		return err
	}
	marked, kept, err := store.Load(ctx, r.cfg.Database.URL, database, r.force, r.mark())
	if err != nil {
		return err
	}
	r.done.Marked = marked
	if kept != "" {
		r.done.Kept = append(r.done.Kept, "the schema "+kept)
	}
	return r.open(ctx, r.cfg.Database.URL)
}

// open migrates the restored database and notes in its audit trail who has
// restored it.
func (r *restoration) open(ctx context.Context, databaseURL string) error {
	db, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return err
	}
	ctx = host.WithActor(ctx, r.actor())
	err = db.Update(ctx, func(t *store.Tx) error {
		return (&daemon{}).audit(ctx, t, host.AuditDatabaseRestore, host.AuditObject{Kind: "database", Name: r.manifest.Database},
			map[string]any{"taken": r.manifest.Created, "provost": r.manifest.Provost, "schema": r.manifest.Schema})
	})
	return errors.Join(err, db.Close())
}

// writeConfig puts the configuration of the backup in its place. What was there
// stays beside it, under a name that nothing reads.
func (r *restoration) writeConfig() error {
	suffix := ".replaced-" + r.now.Format("20060102T150405Z")
	for _, file := range r.different() {
		if err := os.Rename(file, file+suffix); err != nil {
			return host.Errorf(host.InvalidInput, "%w", err)
		}
		r.done.Kept = append(r.done.Kept, file+suffix)
	}
	if err := r.writeOne(r.file, r.main); err != nil {
		return err
	}
	for _, name := range sortedKeys(r.more) {
		if err := r.writeOne(filepath.Join(filepath.Dir(r.file), "conf.d", name), r.more[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoration) writeOne(file string, text []byte) error {
	if now, err := os.ReadFile(file); err == nil && bytes.Equal(now, text) {
		return nil
	}
	return writeWhole(file, text)
}

// tell says what is different now and what is to be done.
func (d restored) tell(w io.Writer) {
	m := d.Manifest
	fmt.Fprintf(w, "restored the backup of %s (%s, schema %d -> %d)\n", m.Created.Local().Format(time.DateTime), databaseText(m.Database), m.Schema, store.Newest())
	for _, k := range d.Kept {
		fmt.Fprintln(w, "  what was there is kept: "+k)
	}
	for _, c := range m.Connectors {
		if strings.HasPrefix(c.Source, "builtin:") || c.SHA256 == "" {
			continue
		}
		fmt.Fprintf(w, "  the connector %s came from %s, sha256 %s; it is not in the backup\n", c.Name, c.Source, c.SHA256)
	}
	for _, x := range d.Warnings {
		fmt.Fprintln(w, "  "+oneLine(x))
	}
	fmt.Fprintf(w, "What was done since the backup is not known here: %s.\n%s\n", d.Marked, accessRestored)
	if len(d.Apps) > 0 {
		fmt.Fprintln(w, "Start the daemon, and reconcile each app as a whole; until then every new account is looked for first:")
		for _, a := range d.Apps {
			fmt.Fprintf(w, "  provost reconcile --app %s --wait\n", a)
		}
	}
}
