// Package scaffold writes a new connector that builds and passes its tests at
// once, for its author to change.
package scaffold

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// Module is the module that a connector in Go imports the PDK from.
const Module = "github.com/provosthq/provost"

//go:embed templates
var templates embed.FS

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Languages lists the languages that there is a template for, sorted.
func Languages() []string {
	entries, err := fs.ReadDir(templates, "templates")
	if err != nil {
		return nil // the folder is embedded
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// Write writes a connector called name into dir, which must be empty or not
// there. Where replace is not empty, the PDK is taken from that checkout of
// [Module]. What was written is taken away again if it could not be finished.
func Write(dir, name, lang, replace string) (err error) {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is no name for a connector; write lower-case letters, digits and hyphens, such as acme-crm", name)
	}
	if !slices.Contains(Languages(), lang) {
		return fmt.Errorf("there is no template for the language %q; there is %s (pdk/CONTRACT.md says how to write one in any)", lang, strings.Join(Languages(), ", "))
	}
	if replace != "" {
		if replace, err = checkout(replace); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is there already and is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var written []string
	defer func() {
		if err != nil {
			for _, file := range written {
				_ = os.Remove(file) // the error that led here counts
			}
		}
	}()
	data := map[string]string{"Name": name, "Module": Module, "Replace": quoted(replace)}
	from := path.Join("templates", lang)
	files, err := fs.ReadDir(templates, from)
	if err != nil {
		return err
	}
	for _, f := range files {
		t, err := template.ParseFS(templates, path.Join(from, f.Name()))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return err
		}
		file := filepath.Join(dir, strings.TrimSuffix(f.Name(), ".tmpl"))
		written = append(written, file)
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Tidy completes the go.mod of a connector in Go and writes its go.sum.
func Tidy(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go mod tidy in %s: %w\n%s", dir, err, bytes.TrimSpace(said))
	}
	return nil
}

// Checkout finds the checkout of [Module] that dir is in, "" for none.
func Checkout(dir string) string {
	for {
		if found, err := checkout(dir); err == nil {
			return found
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// checkout checks that dir is the root of a checkout of [Module].
func checkout(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("%s is no checkout of %s: %w", dir, Module, err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "module" && strings.Trim(f[1], `"`) == Module {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s is no checkout of %s: its go.mod is another module's", dir, Module)
}

// quoted writes a path as go.mod wants it.
func quoted(file string) string {
	if strings.ContainsAny(file, " \t\"'`()[]{},") || strings.Contains(file, "//") {
		return strconv.Quote(file)
	}
	return file
}
