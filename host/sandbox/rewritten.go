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
func (r *Runtime) rewritten(wasm []byte, o rewrite.Options) (*rewrite.Result, error) {
	if r.cacheDir == "" {
		return rewriteModule(wasm, o)
	}
	file := r.rewrittenFile(wasm, o)
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

// rewrittenFile is where the cache has a rewritten module.
func (r *Runtime) rewrittenFile(wasm []byte, o rewrite.Options) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %+v\n", rewrite.Version, o)
	h.Write(wasm)
	return filepath.Join(r.cacheDir, "rewritten", hex.EncodeToString(h.Sum(nil)))
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

func decodeRewritten(b []byte) (*rewrite.Result, error) {
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return nil, errors.New("it is not as it was written")
	}
	result := new(rewrite.Result)
	return result, gob.NewDecoder(bytes.NewReader(b[4:])).Decode(result)
}

func keepRewritten(file string, result *rewrite.Result) error {
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	if err := gob.NewEncoder(&b).Encode(result); err != nil {
		return err
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
