package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

// nouns are what the entries of the lists are called.
var nouns = map[string]string{"apps": "app", "credentials": "credential", "plugins": "plugin"}

// Settings lists what the files declare and what is stored, the one that runs
// where both have a name, and what is stored and can't be used.
func (s service) Settings(ctx context.Context, list string) ([]api.Setting, error) {
	var stored []*host.Setting
	if err := s.store.View(ctx, func(t *store.Tx) (err error) {
		stored, _, err = t.Settings(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	now := s.current.Load()
	all := []api.Setting{}
	for _, of := range config.Lists {
		if list != "" && list != of {
			continue
		}
		var own []api.Setting
		for _, name := range entryNames(now.config, of) {
			if file := now.config.DeclaredIn(of, name); !config.IsStored(file) {
				document, _ := now.config.Document(of, name)
				own = append(own, api.Setting{List: of, Name: name, Document: document, File: file})
			}
		}
		for _, one := range stored {
			if one.List != of {
				continue
			}
			shown, err := shownSetting(one, now.unused)
			if err != nil {
				return nil, err
			}
			own = append(own, shown)
		}
		slices.SortStableFunc(own, func(a, b api.Setting) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, own...)
	}
	return all, nil
}

func entryNames(cfg *config.Config, list string) (names []string) {
	switch list {
	case "apps":
		for _, a := range cfg.Apps {
			names = append(names, a.Name)
		}
	case "credentials":
		for _, c := range cfg.Credentials {
			names = append(names, c.Name)
		}
	case "plugins":
		for _, p := range cfg.Plugins {
			names = append(names, p.Name)
		}
	}
	return names
}

func shownSetting(one *host.Setting, unused map[string]string) (api.Setting, error) {
	entry, err := config.ParseEntry(one.List, "", []byte(one.Document))
	if err != nil {
		return api.Setting{}, err
	}
	entry.Hide()
	text, err := entry.JSON()
	if err != nil {
		return api.Setting{}, err
	}
	shown := api.Setting{List: one.List, Name: one.Name, Revision: one.Revision, ChangedBy: one.Actor, ChangedDate: &one.ChangedDate,
		Problem: unused[storedEntry(one).Place()]}
	return shown, json.Unmarshal(text, &shown.Document)
}

// Setting is the one of a name: what a file declares goes before what is stored.
func (s service) Setting(ctx context.Context, list, name string) (api.Setting, error) {
	all, err := s.Settings(ctx, list)
	for _, one := range all {
		if one.List == list && one.Name == name {
			return one, err
		}
	}
	if err == nil {
		err = host.Errorf(host.NotFound, "no %s named %q", nouns[list], name)
	}
	return api.Setting{}, err
}

// settingChange is a change of a setting that is made ready.
type settingChange struct {
	stored settings
	before *host.Setting // nil for none
	after  *host.Setting // nil to delete it
	cfg    *config.Config
	action host.AuditAction
}

// changeSetting makes a change ready and tells whether it can be: everything
// but what the connectors say.
func (s service) changeSetting(ctx context.Context, list, name string, document []byte, revision int64) (c settingChange, err error) {
	files := s.current.Load().config
	if in := files.DeclaredIn(list, name); in != "" && !config.IsStored(in) {
		return c, host.Errorf(host.Conflict, "the %s %s is declared in %s: change it there", nouns[list], name, in)
	}
	if c.stored, c.before, err = s.settingsWith(ctx, list, name); err != nil {
		return c, err
	}
	switch have := c.before; {
	case document == nil && have == nil:
		return c, host.Errorf(host.NotFound, "no %s named %q is stored", nouns[list], name)
	case revision == api.AnyRevision, have == nil && revision == 0, have != nil && have.Revision == revision:
	case have == nil:
		return c, host.Errorf(host.Changed, "the %s %s is gone: somebody has deleted it since", nouns[list], name)
	default:
		return c, host.Errorf(host.Changed, "the %s %s was changed by %s at %s, since you read it; look at it again and make your change there", nouns[list], name, have.Actor,
			have.ChangedDate.UTC().Format(time.RFC3339))
	}
	one := config.Stored{List: list, Name: name}
	if document != nil {
		if one.Document, err = s.sealedDocument(ctx, list, name, document, c.before); err != nil {
			return c, err
		}
		c.after = &host.Setting{List: list, Name: name, Document: string(one.Document), Actor: host.ActorOf(ctx), ChangedDate: time.Now().UTC()}
	}
	delete(c.stored.unused, one.Place())
	c.stored.entries = config.WithStored(c.stored.entries, one)
	c.cfg, err = config.LoadStored(files.File, c.stored.inUse())
	if err != nil {
		return c, asSettingProblem(err)
	}
	return c, nil
}

// settingsWith are the settings, and the one of a name among them.
func (s service) settingsWith(ctx context.Context, list, name string) (all settings, one *host.Setting, err error) {
	stored, all, err := s.readSettings(ctx)
	now := s.current.Load()
	for _, x := range stored {
		if place := storedEntry(x).Place(); now.unused[place] != "" {
			all.unused[place] = now.unused[place]
		}
		if x.List == list && x.Name == name {
			one = x
		}
	}
	return all, one, err
}

// sealedDocument is what is stored of a document that was sent.
func (s service) sealedDocument(ctx context.Context, list, name string, document []byte, before *host.Setting) ([]byte, error) {
	entry, err := config.ParseEntry(list, "", document)
	if err != nil {
		return nil, asSettingProblem(err)
	}
	if entry.Name != name {
		return nil, &host.Error{Code: host.InvalidInput, Field: "name", Message: fmt.Sprintf("the document is of %q, and the path names %q", entry.Name, name)}
	}
	var old *config.Entry
	if before != nil {
		if old, err = config.ParseEntry(list, "", []byte(before.Document)); err != nil {
			return nil, err
		}
	}
	if err := entry.Keep(old); err != nil {
		return nil, asSettingProblem(err)
	}
	if entry.HasSecret() {
		sealer, err := s.sealerForSettings(ctx)
		if err != nil {
			return nil, err
		}
		if err := entry.Seal(func(path, value string) (string, error) {
			return sealer.Seal(secret.New(value), signin.Binding(name, path))
		}); err != nil {
			return nil, err
		}
	}
	return entry.JSON()
}

// sealerForSettings seals what is to be stored. Where the configuration names no
// identity, and one machine has the database to itself, the daemon makes one for
// itself, which the next configuration has.
func (s service) sealerForSettings(ctx context.Context) (*secret.Sealer, error) {
	if sealer := s.sealer.Load(); sealer != nil {
		return sealer, nil
	}
	cfg := s.current.Load().config
	if s.store.Dialect() != "sqlite" {
		return nil, host.Errorf(host.InvalidInput, "secrets are stored sealed, and there is no key: set secrets.identity_file, the same on every machine (provost credential identity makes one)")
	}
	identity, err := secret.GenerateIdentity()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.DataDir, config.OwnIdentity)
	made, err := writeOnce(path, []byte(identity+"\n"))
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "a key for secrets can't be made: %w", err)
	}
	if !made { // somebody was first
		return newSealer(config.Secrets{IdentityFile: path})
	}
	s.log.WarnContext(ctx, "the configuration names no identity to seal secrets with, so one was made: keep a copy of the file, without it what is sealed is lost", "file", path)
	return newSealer(config.Secrets{IdentityFile: path})
}

// writeOnce writes a file that is not there yet, whole or not at all; false
// where it is there.
func writeOnce(path string, text []byte) (made bool, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".once-*")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err = os.Link(f.Name(), path); errors.Is(err, os.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// asSettingProblem makes the problems of a configuration an error of the first
// field that is wrong.
func asSettingProblem(err error) error {
	var problems *config.Problems
	if !errors.As(err, &problems) || len(*problems) == 0 {
		return err
	}
	e := &host.Error{Code: host.InvalidInput, Err: err}
	for i, p := range *problems {
		text := p.Message
		if p.Key != "" {
			text = p.Key + ": " + p.Message
		}
		if i == 0 {
			e.Field, e.Message = p.Key, text
			continue
		}
		e.Message += "\n" + text
	}
	return e
}

// CheckSetting makes everything ready and throws it away.
func (s service) CheckSetting(ctx context.Context, list, name string, document []byte) error {
	c, err := s.changeSetting(ctx, list, name, document, api.AnyRevision)
	if err != nil {
		return err
	}
	return s.checkChange(ctx, c)
}

func (s service) checkChange(ctx context.Context, c settingChange) error {
	s.daemon.reload.Lock()
	defer s.daemon.reload.Unlock()
	next := s.newChange(c.cfg)
	defer next.drop()
	problems, err := next.prepare(ctx)
	if err != nil {
		return err
	}
	if problems = append(problems, checkCredentials(c.cfg)...); len(problems) > 0 {
		return asSettingProblem(c.cfg.Locate(problems))
	}
	return nil
}

// PutSetting stores a document in the transaction that stores what follows from
// it, and lets it run.
func (s service) PutSetting(ctx context.Context, list, name string, document []byte, revision int64) (api.Setting, error) {
	if err := s.putSetting(ctx, host.AuditAction(nouns[list]+".apply"), list, name, document, revision); err != nil {
		s.auditRefused(ctx, host.AuditAction(nouns[list]+".apply"), host.AuditObject{Kind: nouns[list], Name: name}, err, nil)
		return api.Setting{}, err
	}
	return s.Setting(ctx, list, name)
}

// DeleteSetting takes a setting away, unless another needs it.
func (s service) DeleteSetting(ctx context.Context, list, name string, revision int64) error {
	if list == "plugins" {
		var apps []string
		for _, a := range s.current.Load().config.Apps {
			if a.Plugin == name {
				apps = append(apps, a.Name)
			}
		}
		if len(apps) > 0 {
			return host.Errorf(host.Conflict, "the connector %s is used by %s: give another first", name, strings.Join(apps, " and "))
		}
	}
	if list == "credentials" {
		if apps := appsWith(s.current.Load().config, name); len(apps) > 0 {
			return host.Errorf(host.Conflict, "the credential %s is used by %s: give another first", name, strings.Join(apps, " and "))
		}
		if _, err := s.changeSetting(ctx, list, name, nil, revision); err != nil {
			return err
		}
		if host.DryRunOf(ctx) == nil { // while its server is still known
			if err := s.ForgetCredential(ctx, name); err != nil {
				return err
			}
		}
	}
	return s.putSetting(ctx, host.AuditAction(nouns[list]+".delete"), list, name, nil, revision)
}

// settingTries is how often a change is made anew that met another.
const settingTries = 5

func (s service) putSetting(ctx context.Context, action host.AuditAction, list, name string, document []byte, revision int64) (err error) {
	for range settingTries {
		var c settingChange
		if c, err = s.changeSetting(ctx, list, name, document, revision); err != nil {
			return err
		}
		c.action = action
		if problems := checkCredentials(c.cfg); len(problems) > 0 {
			return asSettingProblem(c.cfg.Locate(problems))
		}
		if host.DryRunOf(ctx) != nil {
			return s.checkChange(ctx, c)
		}
		running := s.current.Load()
		from := c.stored.generation
		c.stored.generation++
		var leftOut map[string]error
		leftOut, err = s.applyWith(ctx, c.cfg, c.stored, func(t *store.Tx) error { return s.storeSetting(ctx, t, c, from, running.config) })
		if errors.Is(err, errSettingsMoved) {
			continue
		}
		if err == nil && list == "plugins" && leftOut[name] != nil {
			return host.Errorf(host.CodeOf(leftOut[name]), "it is stored, and the build of before goes on: %w", leftOut[name])
		}
		return asSettingProblem(err)
	}
	return err
}

func (s service) storeSetting(ctx context.Context, t *store.Tx, c settingChange, from int64, running *config.Config) error {
	moved, err := t.AdvanceSettings(ctx, from)
	if err != nil {
		return err
	}
	if !moved {
		return errSettingsMoved
	}
	one := c.after
	if one == nil {
		one = c.before
		err = t.DeleteSetting(ctx, one.List, one.Name)
	} else {
		one.Revision = from + 1
		err = t.PutSetting(ctx, one)
	}
	if err != nil {
		return err
	}
	d := api.Declaration{Keys: config.Changed(running, c.cfg)}
	d.Bound()
	return s.audit(ctx, t, c.action, host.AuditObject{Kind: nouns[one.List], Name: one.Name},
		map[string]any{"changed": d.Keys, "revision": from + 1})
}

// UploadConnector keeps a module that describes itself as a connector.
func (s service) UploadConnector(ctx context.Context, in io.Reader, signature []byte) (api.Upload, error) {
	cfg := s.current.Load().config
	signers, err := knownSigners(cfg)
	if err != nil {
		return api.Upload{}, err
	}
	module, err := io.ReadAll(io.LimitReader(in, artifact.DefaultMaxBytes+1))
	if err != nil {
		return api.Upload{}, err
	}
	var signatures [][]byte
	if len(signature) > 0 {
		signatures = append(signatures, signature)
	}
	sum := sha256.Sum256(module)
	up := api.Upload{Digest: hex.EncodeToString(sum[:]), Size: int64(len(module))}
	up.Source = config.UploadedPrefix + up.Digest
	a, err := artifact.FromBytes("the upload", module, signatures, artifact.Options{Signers: signers})
	if err != nil {
		return api.Upload{}, err
	}
	found, err := connector.Inspect(ctx, s.sandbox, "upload", module)
	if err != nil {
		return api.Upload{}, err
	}
	if a.Signature != nil {
		if err := a.Signature.Agrees(found.Description.Name, found.Description.Version); err != nil {
			return api.Upload{}, err
		}
		up.Signer = a.Signature.Signer
	} else {
		up.Unsigned = a.Unverified
	}
	up.Description, up.Reach = found.Description, connector.ReachOf(found.Description)
	return up, s.store.Update(ctx, func(t *store.Tx) error {
		if err := t.PutConnectorModule(ctx, &host.ConnectorModule{Digest: up.Digest, Module: module, Signature: string(signature), Actor: host.ActorOf(ctx), CreatedDate: time.Now().UTC()}); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditPluginUpload, host.AuditObject{Kind: "plugin", Name: found.Description.Name},
			map[string]any{"digest": up.Digest, "version": found.Description.Version, "signer": up.Signer})
	})
}

// uploaded returns a module that was uploaded.
func (d *daemon) uploaded(ctx context.Context, digest string) (module []byte, signatures [][]byte, err error) {
	err = d.store.View(ctx, func(t *store.Tx) error {
		m, err := t.ConnectorModule(ctx, digest)
		if errors.Is(err, sql.ErrNoRows) {
			return host.Errorf(host.NotFound, "no connector of the digest %s was uploaded", digest)
		}
		if err != nil {
			return err
		}
		module, signatures = m.Module, nil
		if m.Signature != "" {
			signatures = [][]byte{[]byte(m.Signature)}
		}
		return nil
	})
	return module, signatures, err
}
