// Package backup is the archive that a backup is: a compressed tar whose first
// file, the manifest, says what follows, with digests. It is written and read as
// a stream, checked as it is read, and knows nothing of what its files mean.
package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/provosthq/provost/host"
)

// Format is the version of archives that this binary writes, and the newest
// that it reads.
const Format = 1

// The names of an archive's files. Those of the configuration stand below
// ConfigPrefix as they do beside it.
const (
	ManifestName = "manifest.json"
	DatabaseName = "database"
	ConfigPrefix = "config/"
)

// Manifest says what an archive has.
type Manifest struct {
	Format int `json:"format"`
	// Provost is the version of the binary that wrote it.
	Provost string `json:"provost"`
	// Created is the moment that the database is of, or a little earlier.
	Created time.Time `json:"created"`
	// Database is its kind, sqlite or postgres; Schema the version of its schema.
	Database string `json:"database"`
	Schema   int    `json:"schema"`
	// Config is the name of the configuration's main file.
	Config string `json:"config"`
	// Connectors are not in it, but for those that are built in.
	Connectors []Connector `json:"connectors"`
	// SealedWith are the public keys that something in it is sealed with. Without
	// the identities, which are not in it, that is worth nothing.
	SealedWith []string `json:"sealedWith"`
	Entries    []Entry  `json:"entries"`
}

// Connector is one that the configuration names.
type Connector struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	SHA256 string `json:"sha256,omitempty"`
}

// Entry is a file of the archive.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// File is one to be written: what stands at Path or, without it, Text.
type File struct {
	Name string
	Path string
	Text []byte
}

func (f File) open() (io.ReadCloser, error) {
	if f.Path == "" {
		return io.NopCloser(strings.NewReader(string(f.Text))), nil
	}
	return os.Open(f.Path)
}

// The bounds of what is read.
const (
	maxManifest = 8 << 20
	maxEntries  = 10_000
	maxConfig   = 64 << 20
)

// Write writes an archive of files, which must not change meanwhile. It fills in
// the manifest's Format and Entries.
func Write(ctx context.Context, w io.Writer, m Manifest, files []File) error {
	m.Format, m.Entries = Format, nil
	for _, f := range files {
		e, err := measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		m.Entries = append(m.Entries, e)
	}
	if err := m.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	header := func(name string, size int64) error {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: m.Created.Truncate(time.Second), Format: tar.FormatPAX})
	}
	if err := header(ManifestName, int64(len(text))); err != nil {
		return err
	}
	if _, err := t.Write(text); err != nil {
		return err
	}
	for i, f := range files {
		if err := header(f.Name, m.Entries[i].Size); err != nil {
			return err
		}
		in, err := f.open()
		if err != nil {
			return err
		}
		_, err = io.Copy(t, until{ctx, in})
		if err := errors.Join(err, in.Close()); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func measure(ctx context.Context, f File) (Entry, error) {
	in, err := f.open()
	if err != nil {
		return Entry{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, until{ctx, in})
	return Entry{Name: f.Name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, errors.Join(err, in.Close())
}

// until reads until ctx ends.
type until struct {
	ctx context.Context
	in  io.Reader
}

func (r until) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}

// check tells what is wrong with a manifest.
func (m *Manifest) check() error {
	wrong := func(format string, args ...any) error {
		return host.Errorf(host.InvalidInput, "the backup's manifest: "+format, args...)
	}
	switch {
	case m.Format < 1 || m.Schema < 1 || m.Created.IsZero():
		return wrong("it is none")
	case m.Format > Format:
		return host.Errorf(host.Unsupported, "the backup has the format %d, and this binary reads up to %d: restore it with the provost that wrote it (%s) or a newer one", m.Format, Format, m.Provost)
	case m.Database != "sqlite" && m.Database != "postgres":
		return wrong("a database of kind %q is unknown", m.Database)
	case len(m.Entries) > maxEntries:
		return wrong("it has %d files; %d are the most", len(m.Entries), maxEntries)
	}
	has := map[string]bool{}
	for _, e := range m.Entries {
		_, err := hex.DecodeString(e.SHA256)
		switch {
		case !validName(e.Name):
			return wrong("%q can't be the name of a file of it", e.Name)
		case has[strings.ToLower(e.Name)]:
			return wrong("it has %s twice", e.Name)
		case e.Size < 0, e.Name != DatabaseName && e.Size > maxConfig:
			return wrong("%s can't have %d bytes", e.Name, e.Size)
		case err != nil || len(e.SHA256) != 2*sha256.Size:
			return wrong("%s has no digest", e.Name)
		}
		has[strings.ToLower(e.Name)] = true
	}
	if !has[DatabaseName] || m.Config == "" || !has[strings.ToLower(ConfigPrefix+m.Config)] {
		return wrong("the database or the configuration is not in it")
	}
	return nil
}

// validName: the database, or a file of the configuration or of its conf.d,
// which can stand in a folder of any system.
func validName(name string) bool {
	if name == DatabaseName {
		return true
	}
	rest, ok := strings.CutPrefix(name, ConfigPrefix)
	if !ok {
		return false
	}
	if in, ok := strings.CutPrefix(rest, "conf.d/"); ok {
		if rest = in; path.Ext(rest) != ".yaml" {
			return false
		}
	}
	if rest == "" || rest[0] == '.' || len(rest) > 255 || !utf8.ValidString(rest) || strings.ContainsAny(rest, `/\:*?"<>|`) {
		return false
	}
	return !strings.ContainsFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) })
}
