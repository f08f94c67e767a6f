package artifact

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// cache keeps documents by their digest, in sha256/, and what each source gave
// last, in sources/. A document is verified whenever it is read; a record can
// only choose among documents, which then still have to be signed or pinned.
type cache struct {
	dir string // "" keeps nothing
	log *slog.Logger
}

// record is what a source gave.
type record struct {
	Source string `json:"source"`
	// Wasm, Manifest (in a registry) and Signatures are digests, in hex.
	Wasm       string    `json:"wasm"`
	Manifest   string    `json:"manifest,omitempty"`
	Signatures []string  `json:"signatures,omitempty"`
	ETag       string    `json:"etag,omitempty"`
	FetchedAt  time.Time `json:"fetchedAt"`
}

const mostRecord = 64 << 10

func (c cache) blobPath(digest string) string { return filepath.Join(c.dir, "sha256", digest) }

func (c cache) recordPath(source string) string {
	return filepath.Join(c.dir, "sources", digestOf([]byte(source))+".json")
}

// blob reads a document; not ok where it is not there or is damaged.
func (c cache) blob(digest string, most int64) (_ []byte, ok bool) {
	if c.dir == "" || !isDigest("sha256:"+digest) {
		return nil, false
	}
	f, err := os.Open(c.blobPath(digest))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil || int64(len(b)) > most {
		return nil, false
	}
	if digestOf(b) != digest {
		c.log.Warn("a connector in the cache is damaged and is fetched anew", "file", c.blobPath(digest))
		_ = os.Remove(c.blobPath(digest)) // what stays is refused again
		return nil, false
	}
	return b, true
}

func (c cache) record(source string) (r record, ok bool) {
	if c.dir == "" {
		return r, false
	}
	f, err := os.Open(c.recordPath(source))
	if err != nil {
		return r, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostRecord))
	if err != nil || json.Unmarshal(b, &r) != nil || r.Source != source {
		return record{}, false
	}
	return r, true
}

// keep writes a bundle: its documents first, then the record that names them.
func (c cache) keep(b bundle) error {
	if c.dir == "" {
		return nil
	}
	for digest, text := range b.blobs {
		if err := c.putBlob(digest, text); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(b.record, "", "  ")
	if err != nil {
		return err
	}
	return write(c.recordPath(b.record.Source), text, 0o600, 0o700)
}

func (c cache) putBlob(digest string, text []byte) error {
	path := c.blobPath(digest)
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(text)) {
		if have, err := os.ReadFile(path); err == nil && digestOf(have) == digest {
			now := time.Now()
			return os.Chtimes(path, now, now) // it is in use from now on
		}
	}
	return write(path, text, 0o600, 0o700)
}

// write puts a file in its place whole: whoever reads sees the one before or
// this one, after a power cut too.
func write(path string, text []byte, file, folder fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, folder); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = errors.Join(f.Chmod(file), f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if d, openErr := os.Open(dir); openErr == nil {
		_ = d.Sync() // where a folder can't be synced, the rename is all there is
		_ = d.Close()
	}
	return nil
}

const temporary = ".new-*"

// Keep names what [Store.Prune] leaves.
type Keep struct {
	// Sources are those of the configuration.
	Sources []string
	// Digests are of modules, in hex, such as those of earlier versions.
	Digests []string
}

// Prune removes from the cache what nothing names and nobody has fetched for an
// hour, and tells how many files and bytes that were.
func (s *Store) Prune(keep Keep) (files int, bytes int64, err error) {
	c := s.cache
	if c.dir == "" {
		return 0, 0, nil
	}
	needed := map[string]bool{}
	for _, d := range keep.Digests {
		needed[strings.TrimPrefix(d, "sha256:")] = true
	}
	for _, source := range keep.Sources {
		needed[filepath.Base(c.recordPath(source))] = true
		if r, ok := c.record(source); ok {
			for _, d := range s.bundle(r).digests() {
				needed[d] = true
			}
		}
	}
	before := s.options.Now().Add(-time.Hour)
	for _, dir := range []string{"sources", "modules", "sha256"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return files, bytes, host.Errorf(host.Internal, "the cache of connectors: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || needed[e.Name()] || dir == "modules" && needed[strings.TrimSuffix(e.Name(), ".json")] || !info.Mode().IsRegular() || info.ModTime().After(before) {
				continue // somebody else may have removed it
			}
			if err := os.Remove(filepath.Join(c.dir, dir, e.Name())); err == nil {
				files, bytes = files+1, bytes+info.Size()
			}
		}
	}
	return files, bytes, nil
}

// kept is what belongs to a module that is kept by its digest.
type kept struct {
	Name     string `json:"name"`
	Source   string `json:"source"`
	Resolved string `json:"resolved,omitempty"`
	// Builtin is of the binary of that time. Whoever can write here can say so; he
	// also has the database and its key.
	Builtin    bool     `json:"builtin,omitempty"`
	Signatures [][]byte `json:"signatures,omitempty"`
	Wishes     document `json:"manifest"`
}

func (c cache) keptPath(digest string) string {
	return filepath.Join(c.dir, "modules", digest+".json")
}

// Keep keeps an artifact by the digest of its module, so that a version can be had
// when its source has moved on. The digests of [Keep] protect it.
func (s *Store) Keep(a Artifact) error {
	c := s.cache
	if c.dir == "" {
		return nil
	}
	err := c.putBlob(a.Digest, a.Wasm)
	if err == nil {
		k := kept{Name: a.Name, Source: a.Source, Resolved: a.Resolved, Builtin: a.Builtin, Signatures: a.Signatures, Wishes: a.Wishes.document()}
		var text []byte
		if text, err = json.Marshal(k); err == nil {
			err = write(c.keptPath(a.Digest), text, 0o600, 0o700)
		}
	}
	if err != nil {
		return host.Errorf(host.Internal, "the cache of connectors: %w", err)
	}
	return nil
}

// Kept returns an artifact that is kept, by its digest in hex, verified as the
// options demand now: what nobody signed who counts is not had again. It is
// NotFound where it is not there, or not as it was.
func (s *Store) Kept(digest string, o Options) (Artifact, error) {
	digest = strings.TrimPrefix(digest, "sha256:")
	gone := host.Errorf(host.NotFound, "the module with SHA-256 %s is not in the cache of connectors", digest)
	wasm, ok := s.cache.blob(digest, o.maxBytes())
	if !ok {
		return Artifact{}, gone
	}
	var k kept
	text, err := os.ReadFile(s.cache.keptPath(digest))
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return Artifact{}, gone
	}
	wishes, err := k.Wishes.wishes()
	if err != nil {
		return Artifact{}, gone
	}
	a := Artifact{Name: k.Name, Source: k.Source, Resolved: k.Resolved, Wasm: wasm, Digest: digest, Wishes: wishes, Builtin: k.Builtin}
	if a.Builtin {
		return a, nil
	}
	o.Digest = digest
	if a, err = verified(a, k.Signatures, o); err == nil {
		err = checkWishes(a, true) // whether they could be anybody's was asked when it was kept
	}
	if err != nil {
		return Artifact{}, err
	}
	return a, nil
}
