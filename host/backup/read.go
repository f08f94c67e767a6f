package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/provosthq/provost/host"
)

// Read reads an archive: manifest is called first and may refuse it; then file
// with each file, in the order of the manifest, which it must read to its end.
// Where Read returns nil, every file was as the manifest says, and nothing
// follows. Until then none of them is to be trusted. An error is InvalidInput
// where the archive is at fault.
func Read(in io.Reader, manifest func(Manifest) error, file func(Entry, io.Reader) error) error {
	source := &noted{in: in}
	err := read(source, manifest, file)
	var known *host.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case source.err != nil:
		return host.Errorf(host.Unavailable, "the backup can't be read: %w", source.err)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return host.Errorf(host.InvalidInput, "the backup is cut off: it ends before its last file does")
	case errors.As(err, new(damage)) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, tar.ErrHeader):
		return host.Errorf(host.InvalidInput, "the file is no backup of Provost's, or is damaged: %w", err)
	}
	return err
}

// damage is an error of unpacking.
type damage struct{ error }

// noted keeps the error of the file or the connection that an archive comes
// from, which is none of the archive's.
type noted struct {
	in  io.Reader
	err error
}

func (r *noted) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.err = err
	}
	return n, err
}

func read(in io.Reader, manifest func(Manifest) error, file func(Entry, io.Reader) error) error {
	z, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return unpacking(err)
	}
	z.Multistream(false)
	t := tar.NewReader(z)
	h, err := t.Next()
	if err != nil {
		return unpacking(err)
	}
	if h.Name != ManifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return host.Errorf(host.InvalidInput, "the file is no backup of Provost's: it does not begin with a manifest")
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return unpacking(err)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return host.Errorf(host.InvalidInput, "the backup's manifest can't be read: %w", err)
	}
	if err := m.check(); err != nil {
		return err
	}
	if err := manifest(m); err != nil {
		return err
	}
	for _, e := range m.Entries {
		h, err := t.Next()
		if err != nil {
			return unpacking(err)
		}
		if h.Name != e.Name || h.Typeflag != tar.TypeReg || h.Size != e.Size {
			return host.Errorf(host.InvalidInput, "the backup has %q with %d bytes where its manifest says %s with %d", h.Name, h.Size, e.Name, e.Size)
		}
		sum := sha256.New()
		content := &counted{in: io.TeeReader(t, sum)}
		if err := file(e, content); err != nil {
			if content.err != nil {
				return unpacking(content.err)
			}
			return err
		}
		if content.n != e.Size || hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
			return host.Errorf(host.InvalidInput, "the backup is damaged: %s is not what its manifest says", e.Name)
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = host.Errorf(host.InvalidInput, "the backup has more files than its manifest")
		}
		return unpacking(err)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(z, 1<<20)); err != nil { // to the checksum at its end
		return unpacking(err)
	} else if n == 1<<20 {
		return host.Errorf(host.InvalidInput, "the backup does not end after its last file")
	}
	return nil
}

func unpacking(err error) error {
	var known *host.Error
	if errors.As(err, &known) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return damage{err}
}

// counted counts what is read, and keeps the error of reading.
type counted struct {
	in  io.Reader
	n   int64
	err error
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Extract writes the files of an archive into a folder, which only its owner may
// read. Nothing of it is to be used unless the error is nil.
func Extract(ctx context.Context, in io.Reader, dir string, manifest func(Manifest) error) (m Manifest, err error) {
	return m, Read(until{ctx, in}, func(given Manifest) error {
		m = given
		return manifest(m)
	}, func(e Entry, content io.Reader) error {
		to := filepath.Join(dir, filepath.FromSlash(e.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return host.Errorf(host.Unavailable, "%w", err)
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return host.Errorf(host.Unavailable, "%w", err)
		}
		if _, err = io.Copy(f, content); err == nil {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return host.Errorf(host.Unavailable, "%s: %w", e.Name, err)
		}
		return nil
	})
}

// Verify reads an archive to its end and tells whether it is whole.
func Verify(ctx context.Context, in io.Reader) (m Manifest, err error) {
	return m, Read(until{ctx, in}, func(given Manifest) error { m = given; return nil },
		func(_ Entry, content io.Reader) error { _, err := io.Copy(io.Discard, content); return err })
}
