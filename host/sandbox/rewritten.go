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
	if r.options.CacheDir == "" {
		return rewrite.Rewrite(wasm, o)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %+v\n", rewrite.Version, o)
	h.Write(wasm)
	file := filepath.Join(r.options.CacheDir, "rewritten", hex.EncodeToString(h.Sum(nil)))
	if b, err := os.ReadFile(file); err == nil {
		if result, err := decodeRewritten(b); err == nil {
			return result, nil
		}
		r.options.Logger.Warn("sandbox: a rewritten module in the cache is damaged; it is made again", "file", file)
	}
	result, err := rewrite.Rewrite(wasm, o)
	if err != nil {
		return nil, err
	}
	if err := keepRewritten(file, result); err != nil {
		r.options.Logger.Warn("sandbox: a rewritten module can't be kept in the cache", "error", err)
	}
	return result, nil
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
