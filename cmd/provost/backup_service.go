package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/backup"
	"github.com/provosthq/provost/host/store"
)

// Backup writes an archive of the database as it is at one moment, and of the
// configuration's files as they are then.
func (s service) Backup(ctx context.Context, w io.Writer) (err error) {
	if !s.backingUp.TryLock() {
		return host.Errorf(host.Conflict, "a backup is being made; one at a time is enough")
	}
	defer s.backingUp.Unlock()
	object := host.AuditObject{Kind: "database", Name: s.store.Dialect()}
	m := backup.Manifest{Provost: version, Created: time.Now().UTC(), Database: s.store.Dialect(), Schema: store.Newest()}
	// It is told before it is made, so that the copy tells of itself.
	if err := s.store.Update(ctx, func(t *store.Tx) error {
		return s.audit(ctx, t, host.AuditDatabaseBackup, object, map[string]any{"schema": m.Schema})
	}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.auditRefused(ctx, host.AuditDatabaseBackup, object, err, nil)
		}
	}()
	cfg := s.current.Load().config
	dir, err := os.MkdirTemp(cfg.DataDir, unfinishedBackup)
	if err != nil {
		return host.Errorf(host.Unavailable, "data_dir: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	database := filepath.Join(dir, backup.DatabaseName)
	if m.SealedWith, err = s.keysInUse(ctx); err != nil {
		return err
	}
	if s.store.Dialect() == "sqlite" {
		if err := s.store.Copy(ctx, database); err != nil {
			return err
		}
		if _, err := store.CheckCopy(ctx, database); err != nil {
			return host.Errorf(host.Internal, "the copy that was made is damaged, and perhaps the database: %w", err)
		}
	} else if err := s.store.Dump(ctx, database); err != nil {
		return err
	}
	files, err := configFiles(cfg, &m)
	if err != nil {
		return err
	}
	digests := map[string]string{}
	for _, p := range s.catalogue.List() {
		digests[p.Name] = p.Digest
	}
	for _, p := range cfg.Plugins {
		m.Connectors = append(m.Connectors, backup.Connector{Name: p.Name, Source: cmp.Or(p.Path, p.Source), SHA256: digests[p.Name]})
	}
	return backup.Write(ctx, w, m, append(files, backup.File{Name: backup.DatabaseName, Path: database}))
}

// configFiles are the files of a configuration, as they are in an archive.
func configFiles(cfg *config.Config, m *backup.Manifest) ([]backup.File, error) {
	text, more, err := config.Texts(cfg.File)
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "the configuration: %w", err)
	}
	m.Config = filepath.Base(cfg.File)
	files := []backup.File{{Name: backup.ConfigPrefix + m.Config, Text: text}}
	for _, name := range sortedKeys(more) {
		files = append(files, backup.File{Name: backup.ConfigPrefix + "conf.d/" + name, Text: more[name]})
	}
	return files, nil
}

// keysInUse are the keys that something in the database is sealed with.
func (d *daemon) keysInUse(ctx context.Context) (keys []string, err error) {
	err = d.store.View(ctx, func(t *store.Tx) error { keys, err = sealedWith(ctx, t); return err })
	return keys, err
}

func sealedWith(ctx context.Context, t *store.Tx) (keys []string, err error) {
	list, err := t.Authorizations(ctx)
	for _, a := range list {
		if a.Sealed != "" && !slices.Contains(keys, a.SealedWith) {
			keys = append(keys, a.SealedWith)
		}
	}
	slices.Sort(keys)
	return keys, err
}

// unfinishedBackup is what the folder of a backup that is being made is called.
const unfinishedBackup = ".backup-*"

// dropUnfinishedBackups removes what a daemon that was killed has left: copies
// of everything.
func (d *daemon) dropUnfinishedBackups(dataDir string) {
	left, _ := filepath.Glob(filepath.Join(dataDir, unfinishedBackup)) // the only error is a pattern that can't be, from brackets in the path
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			d.log.Warn("what is left of a backup can't be removed", "folder", dir, "error", err)
		}
	}
}

// onSocketOnly refuses what everybody on this machine could ask for.
func onSocketOnly(w http.ResponseWriter, r *http.Request) {
	api.Refuse(w, r, host.Errorf(host.PermissionDenied, "a backup is to be had only over the daemon's socket, which is its owner's: provost backup FILE, on its machine"))
}
