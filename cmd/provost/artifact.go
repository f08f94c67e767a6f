package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/plugins"
)

// newArtifacts opens what connectors come from, with its cache in a folder; ""
// keeps nothing. Only a daemon has what was uploaded.
func newArtifacts(cache string, log *slog.Logger) *artifact.Store {
	return artifact.NewStore(artifactSources(cache, log))
}

func artifactSources(cache string, log *slog.Logger) artifact.StoreOptions {
	return artifact.StoreOptions{Dir: cache, Builtin: plugins.Builtin, Builtins: plugins.Names(), Credential: artifact.DockerCredential(), Logger: log}
}

// artifactCache is where the connectors of a configuration are kept.
func artifactCache(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "connectors") }

// trialArtifacts are for commands that have no configuration.
func trialArtifacts() *artifact.Store {
	cache := ""
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "provost", "connectors")
	}
	return newArtifacts(cache, nil)
}

// configuredArtifact gets the connector of a configured plugin, as its
// configuration demands it, and what it is loaded with.
func configuredArtifact(ctx context.Context, store *artifact.Store, cfg *config.Config, p config.Plugin) (artifact.Artifact, connector.Spec, error) {
	o, err := artifactOptions(cfg, p)
	if err != nil {
		return artifact.Artifact{}, connector.Spec{}, err
	}
	a, err := store.Get(ctx, cmp.Or(p.Path, p.Source), o)
	if err != nil {
		return artifact.Artifact{}, connector.Spec{}, err
	}
	return a, artifactSpec(a, connectorSpec(p)), nil
}

// keptArtifact is what a build of before is loaded with, as the configuration
// demands it now.
func keptArtifact(store *artifact.Store, cfg *config.Config, p config.Plugin, digest string) (connector.Spec, error) {
	o, err := artifactOptions(cfg, p)
	if err != nil {
		return connector.Spec{}, err
	}
	a, err := store.Kept(digest, o)
	if err != nil {
		return connector.Spec{}, err
	}
	spec := artifactSpec(a, connectorSpec(p))
	spec.Digest = "" // that is of the build that is meant to serve
	return spec, nil
}

// artifactOptions are what a configuration demands of a plugin's connector.
func artifactOptions(cfg *config.Config, p config.Plugin) (artifact.Options, error) {
	signers, err := knownSigners(cfg)
	return artifact.Options{
		Digest: p.Digest, Signers: signers, Accepted: p.Signers, RequireSignature: cfg.Trust.RequireSignature && !p.Unsigned,
		MaxBytes: int64(p.Limits.Module),
	}, err
}

// artifactSpec completes what the operator says of a connector by what came with
// it.
func artifactSpec(a artifact.Artifact, spec connector.Spec) connector.Spec {
	spec.Wasm, spec.Sum, spec.Config, spec.Limits = a.Wasm, a.Digest, a.Wishes.Config, wishedLimits(spec.Limits, a.Wishes)
	spec.Wants = wishedReach(a.Wishes)
	spec.Source = cmp.Or(a.Resolved, spec.Source) // a tag says nothing tomorrow
	if s := a.Signature; s != nil {
		spec.Signer, spec.SignedAs = s.Signer, s.Name+" "+s.Version
	}
	return spec
}

// wishedReach is what a manifest asks for beyond what every connector has; like
// what the connector itself asks for, it needs a grant.
func wishedReach(w artifact.Wishes) host.Reach {
	most, r := sandbox.DefaultLimits(), host.Reach{Hosts: w.Hosts}
	if w.MemoryBytes > most.MemoryBytes {
		r.MemoryMiB = int((w.MemoryBytes + 1<<20 - 1) >> 20)
	}
	if w.Time > most.Time {
		r.TimeSeconds = int((w.Time + time.Second - 1) / time.Second)
	}
	return r
}

// wishedLimits are the operator's limits and, where he says nothing, what the
// manifest asks for where that is less than what every connector has.
func wishedLimits(l sandbox.Limits, w artifact.Wishes) sandbox.Limits {
	most := sandbox.DefaultLimits()
	if l.MemoryBytes == 0 && w.MemoryBytes > 0 && w.MemoryBytes < most.MemoryBytes {
		l.MemoryBytes = w.MemoryBytes
	}
	if l.Time == 0 && w.Time > 0 && w.Time < most.Time {
		l.Time = w.Time
	}
	if l.HTTPResponseBytes == 0 && w.HTTPResponseBytes != 0 && w.HTTPResponseBytes < most.HTTPResponseBytes {
		l.HTTPResponseBytes = max(w.HTTPResponseBytes, 1) // 0 would be the default
	}
	if l.VarBytes == 0 && w.VarBytes != 0 && w.VarBytes < int64(most.VarBytes) {
		l.VarBytes = int(max(w.VarBytes, 1))
	}
	return l
}

// knownSigners reads the keys of a configuration's signers.
func knownSigners(cfg *config.Config) ([]artifact.Signer, error) {
	list := make([]artifact.Signer, len(cfg.Signers))
	for i, s := range cfg.Signers {
		text, field := s.Key, "key"
		if s.KeyFile != "" {
			b, err := readSmall(s.KeyFile)
			if err != nil {
				return nil, host.Errorf(host.InvalidInput, "signers.%s.key_file: %w", s.Name, err)
			}
			text, field = string(b), "key_file"
		}
		key, err := artifact.ParsePublicKey(text)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "signers.%s.%s: %w", s.Name, field, err)
		}
		list[i] = artifact.Signer{Name: s.Name, Key: key}
	}
	return list, nil
}

// readSmall reads a file of a person's: a key or a password.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 64 << 10
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s: has more than %s", path, bytesText(most))
	}
	return b, err
}

// sourceFiles are the local files that the connectors of a configuration are
// made of, and the keys that they are verified with.
func sourceFiles(cfg *config.Config) []string {
	var files []string
	for _, path := range cfg.Files() {
		files = append(files, artifact.Files(path, "")...)
	}
	for _, s := range cfg.Signers {
		if s.KeyFile != "" {
			files = append(files, s.KeyFile)
		}
	}
	return files
}

// uploadKept is how long an upload is kept that nothing names yet.
const uploadKept = 24 * time.Hour

// pruneArtifacts takes out of the cache what neither the configuration nor the
// versions of its connectors name.
func (d *daemon) pruneArtifacts(ctx context.Context) error {
	cfg := d.current.Load().config
	keep := artifact.Keep{}
	for _, p := range cfg.Plugins {
		keep.Sources = append(keep.Sources, p.Source)
		if p.Path != "" { // a manifest may name an address
			keep.Sources = append(keep.Sources, artifact.Addresses(p.Path)...)
		}
	}
	err := d.store.View(ctx, func(t *store.Tx) error {
		pinned, err := t.PinnedConnectorVersions(ctx)
		if err != nil {
			return err
		}
		keep.Digests = sortedKeys(pinned)
		versions, err := t.ConnectorVersions(ctx, "")
		if err != nil {
			return err
		}
		for _, v := range versions {
			keep.Digests = append(keep.Digests, v.Digest)
		}
		states, err := t.ConnectorStates(ctx)
		for _, s := range states {
			keep.Digests = append(keep.Digests, s.ServingDigest, s.RejectedDigest)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = d.store.Update(ctx, func(t *store.Tx) error {
		named := slices.Clone(keep.Digests)
		list, _, err := t.Settings(ctx)
		for _, one := range list {
			if one.List != "plugins" {
				continue
			}
			var p struct{ Source string }
			if json.Unmarshal([]byte(one.Document), &p) == nil {
				named = append(named, strings.TrimPrefix(p.Source, config.UploadedPrefix))
			}
		}
		for _, p := range cfg.Plugins { // a file may name an upload, too
			named = append(named, strings.TrimPrefix(p.Source, config.UploadedPrefix))
		}
		if err == nil {
			_, err = t.PruneConnectorModules(ctx, named, time.Now().UTC().Add(-uploadKept))
		}
		return err
	})
	if err != nil {
		return err
	}
	files, size, err := d.artifacts.Prune(keep)
	if files > 0 {
		d.log.InfoContext(ctx, "the cache of connectors was pruned", "files", files, "bytes", size)
	}
	return err
}
