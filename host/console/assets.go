package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// The style sheet and the script are ours; htmx (0BSD) and Inter (OFL) have their
// licences beside them.
//
//go:embed assets
var files embed.FS

// assets are the files that pages refer to. Their address has the digest of all
// of them in it, so that a browser keeps them until one is another.
type assets struct {
	digest string
	files  map[string][]byte
}

func embedded() *assets {
	a := &assets{files: map[string][]byte{}}
	sum := sha256.New()
	entries, err := files.ReadDir("assets")
	if err != nil { // they are in the binary
		panic(err)
	}
	for _, e := range entries {
		content, err := fs.ReadFile(files, path.Join("assets", e.Name()))
		if err != nil {
			panic(err)
		}
		a.files[e.Name()] = content
		sum.Write([]byte(e.Name()))
		sum.Write(content)
	}
	a.digest = hex.EncodeToString(sum.Sum(nil))[:16]
	return a
}

// path is the address of a file.
func (a *assets) path(name string) string { return Path + "/assets/" + a.digest + "/" + name }

// ServeHTTP answers with a file. Under the digest of another version (two
// machines share an address while one is updated) it is ours too, and not kept.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, ok := a.files[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"`+a.digest+`"`)
	w.Header().Set("Cache-Control", "no-cache")
	if r.PathValue("digest") == a.digest {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if path.Ext(r.PathValue("name")) == ".woff2" { // not every system's list of types has it
		w.Header().Set("Content-Type", "font/woff2")
	}
	http.ServeContent(w, r, r.PathValue("name"), time.Time{}, bytes.NewReader(content))
}
