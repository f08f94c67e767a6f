package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// The configuration that runs is that of the files and, beside it, what the API
// has stored: the settings. The files come first. A setting that does not fit
// them is left out and told, so that nothing in the database can keep a daemon
// from starting.

// settings are the entries of the database, of one generation.
type settings struct {
	entries    []config.Stored
	generation int64
	// unused says why an entry is left out, by its place.
	unused map[string]string
}

func (s settings) inUse() []config.Stored {
	return slices.DeleteFunc(slices.Clone(s.entries), func(e config.Stored) bool { return s.unused[e.Place()] != "" })
}

// errSettingsMoved says that somebody has changed a setting since they were read.
var errSettingsMoved = host.Errorf(host.Conflict, "somebody changed a setting at the same time; try again")

// unchanged is what a transaction does that applies them.
func (s settings) unchanged(ctx context.Context) func(*store.Tx) error {
	return func(t *store.Tx) error {
		now, err := t.HoldSettings(ctx)
		if err == nil && now != s.generation {
			err = errSettingsMoved
		}
		return err
	}
}

// apply applies a configuration whose settings are those that run.
func (d *daemon) apply(ctx context.Context, cfg *config.Config) (leftOut map[string]error, err error) {
	now := d.current.Load()
	return d.applyWith(ctx, cfg, settings{generation: now.generation, unused: now.unused}, nil)
}

// readSettings reads what is stored; nothing of it is known to be unused yet.
func (d *daemon) readSettings(ctx context.Context) (list []*host.Setting, s settings, err error) {
	s.unused = map[string]string{}
	err = d.store.View(ctx, func(t *store.Tx) (err error) {
		list, s.generation, err = t.Settings(ctx)
		return err
	})
	for _, one := range list {
		s.entries = append(s.entries, storedEntry(one))
	}
	return list, s, err
}

func storedEntry(s *host.Setting) config.Stored {
	return config.Stored{List: s.List, Name: s.Name, Document: []byte(s.Document)}
}

// applyStored applies the configuration that files returns, with the settings
// that fit it.
func (d *daemon) applyStored(ctx context.Context, path string, files func() (*config.Config, error)) (cfg *config.Config, leftOut map[string]error, err error) {
	_, stored, err := d.readSettings(ctx)
	for err == nil {
		if entries := stored.inUse(); len(entries) > 0 {
			cfg, err = config.LoadStored(path, entries)
		} else {
			cfg, err = files()
		}
		if err == nil {
			leftOut, err = d.applyWith(ctx, cfg, stored, nil)
		}
		if errors.Is(err, errSettingsMoved) {
			_, stored, err = d.readSettings(ctx)
			continue
		}
		bad := config.BadStored(err)
		if len(bad) == 0 {
			break
		}
		maps.Copy(stored.unused, bad)
		err = nil
	}
	if err == nil {
		for _, place := range sortedKeys(stored.unused) {
			d.log.WarnContext(ctx, "a setting is not used", "setting", place, "error", stored.unused[place])
		}
	}
	return cfg, leftOut, err
}

// tendSettings takes what another machine has stored.
func (d *daemon) tendSettings(ctx context.Context) error {
	var now int64
	err := d.store.View(ctx, func(t *store.Tx) (err error) {
		now, err = t.SettingGeneration(ctx)
		return err
	})
	if err != nil || d.path == "" || now == d.current.Load().generation || now == d.triedSettings.Swap(now) {
		return err // what could not be taken is tried again when the files change
	}
	_, err = d.changed(host.WithActor(ctx, host.Ourselves), d.path, "settings")
	return err
}

// tellUnused tells people, on all machines, which settings this one can't use:
// whoever stored one elsewhere would not learn of it. It looks when something
// has changed.
func (d *daemon) tellUnused() func(context.Context) error {
	var generation int64
	var told map[string]string // nil before the first look
	return func(ctx context.Context) error {
		now := d.current.Load()
		if d.path == "" || told != nil && now.generation == generation && maps.Equal(told, now.unused) {
			return nil
		}
		if err := d.noticeUnused(ctx, now.unused); err != nil {
			return err
		}
		generation, told = now.generation, maps.Clone(now.unused)
		if told == nil {
			told = map[string]string{}
		}
		return nil
	}
}

// noticeUnused raises a notice of each setting that is not used here, and ends
// those that are over: of this machine, and of any for what is not stored any
// more, as a machine that is gone does not tell so itself.
func (d *daemon) noticeUnused(ctx context.Context, unused map[string]string) error {
	here := fmt.Sprintf(" on %s (%s)", machine(), d.path)
	var open []*host.Notice
	stored := map[string]bool{}
	err := d.store.View(ctx, func(t *store.Tx) (err error) {
		if open, err = t.Notices(ctx, time.Time{}); err != nil {
			return err
		}
		list, _, err := t.Settings(ctx)
		for _, one := range list {
			stored[storedEntry(one).Place()] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, place := range sortedKeys(unused) {
		if stored[place] {
			d.raise(ctx, host.Notice{Kind: host.NoticeSetting, Subject: place + here,
				Text: fmt.Sprintf("the stored setting %s is not used%s: %s   -> provost setting list, there", place, here, unused[place])})
		}
	}
	for _, n := range open {
		place, _, _ := strings.Cut(n.Subject, " on ")
		own := strings.HasSuffix(n.Subject, here) && unused[place] == ""
		if n.Kind == host.NoticeSetting && (own || !stored[place]) {
			d.resolve(ctx, n.Kind, n.Subject)
		}
	}
	return nil
}
