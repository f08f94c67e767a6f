package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of a manifest, a module that it has in itself not counted.
const (
	mostManifest = 1 << 20
	mostConfig   = 1000
	mostHosts    = 200
	pageBytes    = 64 << 10
)

// Manifest is a plugin's manifest in Extism's format with one module.
type Manifest struct {
	Module Module
	Wishes Wishes
}

// Module says where a manifest's module is: one of Path, URL and Data is set.
type Module struct {
	Name, Path, URL string
	Data            []byte
	// Hash is its SHA-256, in hex; "" where the manifest has none.
	Hash string
}

// Wishes are what a manifest asks for besides running. Nothing of it is granted
// by being asked for: it can lower what the operator gives, and it is shown.
type Wishes struct {
	// Config is what the plugin reads by name (config_get).
	Config map[string]string
	// Hosts are what it wants to call besides its credential's endpoint.
	Hosts []string
	// MemoryBytes, HTTPResponseBytes, VarBytes and Time bound each call; 0 where
	// nothing is said. HTTPResponseBytes and VarBytes are -1 for none at all.
	MemoryBytes, HTTPResponseBytes, VarBytes int64
	Time                                     time.Duration
}

// document is the format: github.com/extism/go-sdk's Manifest, of which every
// field stands here, so that nothing that somebody meant is lost unseen.
type document struct {
	Wasm         []documentModule  `json:"wasm"`
	Memory       *documentMemory   `json:"memory,omitempty"`
	Config       map[string]string `json:"config,omitempty"`
	AllowedHosts []string          `json:"allowed_hosts,omitempty"`
	AllowedPaths map[string]string `json:"allowed_paths,omitempty"`
	Timeout      uint64            `json:"timeout_ms,omitempty"`
}

type documentModule struct {
	Data    []byte            `json:"data,omitempty"`
	Path    string            `json:"path,omitempty"`
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Method  string            `json:"method,omitempty"`
	Hash    string            `json:"hash,omitempty"`
	Name    string            `json:"name,omitempty"`
}

type documentMemory struct {
	MaxPages             uint32 `json:"max_pages,omitempty"`
	MaxHTTPResponseBytes *int64 `json:"max_http_response_bytes,omitempty"`
	MaxVarBytes          *int64 `json:"max_var_bytes,omitempty"`
}

// ParseManifest reads a manifest in Extism's format. Its error says which value
// is wrong and what to write.
func ParseManifest(b []byte) (Manifest, error) {
	var doc document
	if len(bytes.TrimSpace(b)) == 0 {
		return Manifest{}, errors.New("is empty; a manifest is {\"wasm\": [{\"path\": \"acme.wasm\"}]}")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return Manifest{}, fmt.Errorf("is no manifest in Extism's format: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("has more than one document")
	}
	m, err := doc.module()
	if err != nil {
		return Manifest{}, err
	}
	w, err := doc.wishes()
	return Manifest{m, w}, err
}

func (d document) module() (Module, error) {
	if len(d.Wasm) != 1 {
		return Module{}, fmt.Errorf("wasm: has %d modules; a connector is one, link them into one", len(d.Wasm))
	}
	w := d.Wasm[0]
	places := 0
	for _, is := range []bool{len(w.Data) > 0, w.Path != "", w.URL != ""} {
		if is {
			places++
		}
	}
	if places != 1 {
		return Module{}, fmt.Errorf("wasm[0]: has %d of path, url and data; it needs one", places)
	}
	hash := strings.ToLower(strings.TrimPrefix(w.Hash, "sha256:"))
	if hash != "" && !isDigest("sha256:"+hash) {
		return Module{}, errors.New("wasm[0].hash: must be a SHA-256 in 64 hex digits")
	}
	if w.URL != "" {
		u, err := url.Parse(w.URL)
		switch {
		case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "":
			return Module{}, fmt.Errorf("wasm[0].url: %q is no https:// address without a name and a password", withoutUser(w.URL))
		case hash == "":
			return Module{}, errors.New("wasm[0].hash: is missing; what comes from an address needs its SHA-256")
		case len(w.Headers) > 0:
			return Module{}, errors.New("wasm[0].headers: are not sent; fetch the module and name its path")
		case w.Method != "" && w.Method != "GET":
			return Module{}, fmt.Errorf("wasm[0].method: %q is not sent; there is GET", w.Method)
		}
	}
	return Module{Name: w.Name, Path: w.Path, URL: w.URL, Data: w.Data, Hash: hash}, nil
}

func (d document) wishes() (Wishes, error) {
	w := Wishes{Config: d.Config, Hosts: d.AllowedHosts}
	size := 0
	for k, v := range d.Config {
		size += len(k) + len(v)
	}
	switch {
	case len(d.AllowedPaths) > 0:
		return w, errors.New("allowed_paths: a connector has no files here; take it out")
	case len(d.Config) > mostConfig || size > mostManifest:
		return w, fmt.Errorf("config: has %d values in %d bytes; it may have %d in %d", len(d.Config), size, mostConfig, mostManifest)
	case len(d.AllowedHosts) > mostHosts:
		return w, fmt.Errorf("allowed_hosts: has %d hosts; it may have %d", len(d.AllowedHosts), mostHosts)
	case d.Timeout > uint64(24*time.Hour/time.Millisecond):
		return w, fmt.Errorf("timeout_ms: %d is more than a day", d.Timeout)
	}
	w.Time = time.Duration(d.Timeout) * time.Millisecond
	if d.Memory == nil {
		return w, nil
	}
	if d.Memory.MaxPages > 65536 {
		return w, fmt.Errorf("memory.max_pages: %d is more than the 65536 that there are", d.Memory.MaxPages)
	}
	w.MemoryBytes = int64(d.Memory.MaxPages) * pageBytes
	w.HTTPResponseBytes, w.VarBytes = bound(d.Memory.MaxHTTPResponseBytes), bound(d.Memory.MaxVarBytes)
	return w, nil
}

// bound reads a size of which Extism's -1, like nothing, means no bound and 0
// means none at all.
func bound(n *int64) int64 {
	switch {
	case n == nil || *n < 0:
		return 0
	case *n == 0:
		return -1
	default:
		return *n
	}
}

// IsZero tells whether nothing is asked for.
func (w Wishes) IsZero() bool {
	return len(w.Config) == 0 && len(w.Hosts) == 0 && w.MemoryBytes == 0 && w.HTTPResponseBytes == 0 && w.VarBytes == 0 && w.Time == 0
}

// Digest names the wishes, however the manifest is laid out: the SHA-256, in
// hex, of their document. It is "" where nothing is asked for.
func (w Wishes) Digest() string {
	if w.IsZero() {
		return ""
	}
	b, err := json.Marshal(w.document())
	if err != nil {
		return "" // texts and numbers are always written
	}
	return digestOf(b)
}

// document is the manifest that asks for them, without a module.
func (w Wishes) document() document {
	d := document{Config: maps.Clone(w.Config), AllowedHosts: slices.Clone(w.Hosts), Timeout: uint64(w.Time / time.Millisecond)}
	if w.MemoryBytes != 0 || w.HTTPResponseBytes != 0 || w.VarBytes != 0 {
		d.Memory = &documentMemory{MaxPages: uint32(w.MemoryBytes / pageBytes), MaxHTTPResponseBytes: unbound(w.HTTPResponseBytes), MaxVarBytes: unbound(w.VarBytes)}
	}
	return d
}

func unbound(n int64) *int64 {
	switch {
	case n == 0:
		return nil
	case n < 0:
		n = 0
	}
	return &n
}

// manifest is the manifest of a module that lies beside it under a name.
func (w Wishes) manifest(name, digest string) ([]byte, error) {
	d := w.document()
	d.Wasm = []documentModule{{Path: name, Hash: digest}}
	return json.MarshalIndent(d, "", "  ")
}
