// Package plugins embeds the connectors of this repository as they were
// compiled into plugins/dist, so that one binary carries them. It knows
// nothing of what is in them.
package plugins

import (
	"embed"
	"slices"
	"strings"
)

//go:embed dist
var dist embed.FS

const suffix = ".wasm"

// Builtin returns the module of a built-in connector. It is not there when the
// binary was built without `make build`, which compiles the connectors first.
func Builtin(name string) ([]byte, bool) {
	if !slices.Contains(Names(), name) {
		return nil, false
	}
	b, err := dist.ReadFile("dist/" + name + suffix)
	return b, err == nil
}

// Names lists the built-in connectors, sorted.
func Names() []string {
	entries, err := dist.ReadDir("dist")
	if err != nil {
		return nil // the folder is always embedded; an embedded folder can be read
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	return names
}
