package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// rewritten returns a module rewritten, from the cache beside that of compiled
// code where it is there. The cache is as trusted as that one is.
func (r *Runtime) rewritten(key string, wasm []byte, o rewrite.Options) (*rewrite.Result, error) {
	if r.cacheDir == "" {
		return rewriteModule(wasm, o)
	}
	file := r.rewrittenFile(key)
	if result := r.kept(file); result != nil {
		return result, nil
	}
	result, err := rewriteModule(wasm, o)
	if err != nil {
		return nil, err
	}
	if err := keepRewritten(file, result); err != nil {
		r.options.Logger.Warn("sandbox: a rewritten module can't be kept in the cache", "error", err)
	}
	return result, nil
}

// rewriteModule rewrites a module or refuses it.
func rewriteModule(wasm []byte, o rewrite.Options) (*rewrite.Result, error) {
	result, err := rewrite.Rewrite(wasm, o)
	if e := new(rewrite.Error); errors.As(err, &e) {
		if e.Limit != "" {
			return nil, &refusal{e.Limit, clip(e.Message, mostMessage)}
		}
		return nil, refuse("is no WebAssembly that can be run here: %s", clip(e.Error(), mostMessage))
	}
	if err != nil {
		return nil, refuse("%s", clip(err.Error(), mostMessage))
	}
	return result, nil
}

// rewrittenKey names what a module of that digest is rewritten to.
func rewrittenKey(digest string, o rewrite.Options) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %+v\n%s", rewrite.Version, o, digest))
	return hex.EncodeToString(sum[:])
}

// rewrittenFile is where the cache has a rewritten module.
func (r *Runtime) rewrittenFile(key string) string {
	return filepath.Join(r.cacheDir, "rewritten", key)
}

// kept reads a rewritten module from the cache; nil where there is none.
func (r *Runtime) kept(file string) *rewrite.Result {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	result, err := decodeRewritten(b)
	if err != nil {
		r.options.Logger.Warn("sandbox: a rewritten module in the cache is damaged; it is made again", "file", file)
		return nil
	}
	return result
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is what a kept module begins with. Its bytes, and those of its segments,
// follow: gob would read them one by one.
type head struct {
	Result         rewrite.Result // without Wasm and Data
	Size           int            // of Wasm
	Offsets, Sizes []uint32       // of Data
}

// A kept module is a checksum of the rest, the length of the head, the head, and
// the bytes.
const beforeHead = 8

func decodeRewritten(b []byte) (*rewrite.Result, error) {
	if len(b) < beforeHead || crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return nil, errors.New("it is not as it was written")
	}
	size, rest := int(binary.LittleEndian.Uint32(b[4:])), b[beforeHead:]
	var h head
	if err := gob.NewDecoder(bytes.NewReader(rest[:size])).Decode(&h); err != nil {
		return nil, err
	}
	h.Result.Wasm = rest[size : size+h.Size]
	data := bytes.Clone(rest[size+h.Size:]) // it is kept longer than the module
	for i, n := range h.Sizes {
		h.Result.Data = append(h.Result.Data, rewrite.Segment{Offset: h.Offsets[i], Bytes: data[:n:n]})
		data = data[n:]
	}
	return &h.Result, nil
}

func keepRewritten(file string, result *rewrite.Result) error {
	h := head{Result: *result, Size: len(result.Wasm)}
	h.Result.Wasm, h.Result.Data = nil, nil
	for _, s := range result.Data {
		h.Offsets, h.Sizes = append(h.Offsets, s.Offset), append(h.Sizes, uint32(len(s.Bytes)))
	}
	var b bytes.Buffer
	b.Write(make([]byte, beforeHead))
	if err := gob.NewEncoder(&b).Encode(h); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(b.Bytes()[4:], uint32(b.Len()-beforeHead))
	b.Write(result.Wasm)
	for _, s := range result.Data {
		b.Write(s.Bytes)
	}
	binary.LittleEndian.PutUint32(b.Bytes(), crc32.Checksum(b.Bytes()[4:], castagnoli))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
