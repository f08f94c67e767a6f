package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// ManifestName is the manifest in a folder, SignatureSuffix what a file's name
// ends with that has the signature of another.
const (
	ManifestName    = "manifest.json"
	SignatureSuffix = ".minisig"
	moduleSuffix    = ".wasm"
)

// Files lists the files that a local source reads or would read if they were
// there, absolute, for whoever watches them; nil for what is not local.
func Files(source, dir string) []string {
	src, err := ParseSource(source, dir)
	if err != nil || src.Kind != Local {
		return nil
	}
	info, err := os.Stat(src.Path)
	if err == nil && info.IsDir() {
		manifest := filepath.Join(src.Path, ManifestName)
		files := append([]string{manifest}, manifestFiles(manifest)...)
		for _, name := range modulesIn(src.Path) {
			files = append(files, filepath.Join(src.Path, name), filepath.Join(src.Path, name+SignatureSuffix))
		}
		slices.Sort(files)
		return slices.Compact(files)
	}
	if isManifest(src.Path) {
		return append([]string{src.Path}, manifestFiles(src.Path)...)
	}
	return []string{src.Path, src.Path + SignatureSuffix}
}

// Addresses are what the manifest of a local source names by their address, for
// whoever keeps what was fetched from there.
func Addresses(path string) []string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, ManifestName)
	}
	if !isManifest(path) {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	if m, err := ParseManifest(b); err == nil && m.Module.URL != "" {
		return []string{m.Module.URL}
	}
	return nil
}

// manifestFiles are what a manifest names, and its signature.
func manifestFiles(file string) []string {
	files := []string{file + SignatureSuffix}
	b, err := os.ReadFile(file)
	if err != nil {
		return files
	}
	if m, err := ParseManifest(b); err == nil && m.Module.Path != "" {
		wasm := below(filepath.Dir(file), m.Module.Path)
		files = append(files, wasm, wasm+SignatureSuffix)
	}
	return files
}

func isManifest(path string) bool { return strings.EqualFold(filepath.Ext(path), ".json") }

func below(dir, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// modulesIn are the names of the modules of a folder.
func modulesIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), moduleSuffix) && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// local reads a file, a folder or a manifest, with the signatures beside it.
func (s *Store) local(ctx context.Context, src Source, o Options) (Artifact, [][]byte, error) {
	info, err := os.Stat(src.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint := "name a .wasm file, a folder, a manifest, https://…, oci://…"
		if len(s.options.Builtins) > 0 {
			hint += " or one of " + BuiltinPrefix + strings.Join(s.options.Builtins, ", "+BuiltinPrefix)
		}
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: there is no such file; %s", src.Text, hint)
	case err != nil:
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: %w", src.Text, err)
	case !info.IsDir() && isManifest(src.Path):
		return s.manifest(ctx, src, src.Path, false, o)
	case !info.IsDir():
		return module(ctx, src, src.Path, o)
	}
	manifest := filepath.Join(src.Path, ManifestName)
	if _, err := os.Stat(manifest); err == nil {
		return s.manifest(ctx, src, manifest, true, o)
	}
	switch names := modulesIn(src.Path); len(names) {
	case 1:
		return module(ctx, src, filepath.Join(src.Path, names[0]), o)
	case 0:
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: is a folder without a .wasm file and without %s; if it is a connector's source:   -> provost plugin build %s", src.Text, ManifestName, src.Text)
	default:
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: is a folder with %d modules (%s); name one of them, or say in %s which it is", src.Text, len(names), strings.Join(names, ", "), ManifestName)
	}
}

// module reads one .wasm file.
func module(ctx context.Context, src Source, path string, o Options) (Artifact, [][]byte, error) {
	wasm, err := readStable(ctx, path, o.maxBytes())
	if err != nil {
		return Artifact{}, nil, err
	}
	a := Artifact{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Source: src.Text, Wasm: wasm, Digest: digestOf(wasm), SignaturePath: path + SignatureSuffix}
	signatures, err := signatureBeside(ctx, a.SignaturePath)
	return a, signatures, err
}

// manifest reads the module that a manifest names, with what it asks for. In a
// folder, which may come from somebody else, it names no file outside.
func (s *Store) manifest(ctx context.Context, src Source, file string, inFolder bool, o Options) (Artifact, [][]byte, error) {
	b, err := readStable(ctx, file, mostManifest+o.maxBytes()*4/3)
	if err != nil {
		return Artifact{}, nil, err
	}
	m, err := ParseManifest(b)
	if err != nil {
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: %w", file, err)
	}
	if m.Module.Path != "" && inFolder && !filepath.IsLocal(filepath.FromSlash(m.Module.Path)) {
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: wasm[0].path: %q is outside of the folder; put the module beside the manifest", file, m.Module.Path)
	}
	own := o
	own.Digest = ""
	var a Artifact
	var signatures [][]byte
	switch {
	case m.Module.Path != "":
		a, signatures, err = module(ctx, src, below(filepath.Dir(file), m.Module.Path), own)
	case m.Module.URL != "":
		a, signatures, err = s.addressed(ctx, m.Module, own)
	default:
		a = Artifact{Name: strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), Wasm: m.Module.Data, Digest: digestOf(m.Module.Data), SignaturePath: file + SignatureSuffix}
		if int64(len(a.Wasm)) > o.maxBytes() {
			return Artifact{}, nil, tooLarge(file, o.maxBytes())
		}
		signatures, err = signatureBeside(ctx, a.SignaturePath)
	}
	if err != nil {
		return Artifact{}, nil, err
	}
	a.Source, a.Wishes = src.Text, m.Wishes
	if m.Module.Hash != "" && m.Module.Hash != a.Digest {
		return Artifact{}, nil, host.Errorf(host.InvalidInput, "%s: wasm[0].hash is %s, but the module's SHA-256 is %s: it is not the file that was meant", file, m.Module.Hash, a.Digest)
	}
	return a, signatures, nil
}

func signatureBeside(ctx context.Context, path string) ([][]byte, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	b, err := readStable(ctx, path, mostSignature)
	if err != nil {
		return nil, err
	}
	return [][]byte{b}, nil
}

// rest is how long nobody may have written a file before it is read: file
// systems tell times apart by some milliseconds only.
const rest = 50 * time.Millisecond

// readStable reads a file that nobody writes meanwhile: its size and time are
// the same after as before, and not of just now. It tries for about a second.
func readStable(ctx context.Context, path string, most int64) ([]byte, error) {
	for wait := rest; ; wait += wait / 2 {
		b, settled, err := readOnce(path, most, io.ReadAll)
		if err != nil || settled {
			return b, err
		}
		if wait > 500*time.Millisecond {
			return nil, host.Errorf(host.Unavailable, "%s: is being written; it is read when that has come to an end", path)
		}
		select {
		case <-ctx.Done():
			return nil, host.Errorf(host.Cancelled, "%s: %w", path, ctx.Err())
		case <-time.After(wait):
		}
	}
}

func readOnce(path string, most int64, readAll func(io.Reader) ([]byte, error)) (_ []byte, settled bool, err error) {
	fail := func(err error) ([]byte, bool, error) {
		return nil, false, host.Errorf(host.InvalidInput, "%w", err)
	}
	before, err := os.Stat(path)
	switch {
	case err != nil:
		return fail(err)
	case !before.Mode().IsRegular():
		return nil, false, host.Errorf(host.InvalidInput, "%s: is no file", path)
	case before.Size() > most:
		return nil, false, tooLarge(path, most)
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	b, err := readAll(io.LimitReader(f, most+1))
	if err != nil {
		return fail(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return nil, false, nil // it was there; a rename puts another in its place
	}
	same := os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime()) && int64(len(b)) == after.Size()
	return b, same && atRest(after.ModTime(), time.Now()), nil
}

// atRest tells whether nobody has written for a while. A time that is yet to come
// is another machine's, and says nothing.
func atRest(written, now time.Time) bool {
	age := now.Sub(written)
	return age < 0 || age >= rest
}
