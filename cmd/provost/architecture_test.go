package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/provosthq/provost/"

// mayImport is the table of the design: for each package (the longest prefix
// that matches counts) the packages of ours that it may import. Its own
// sub-packages are always allowed. Tests may wire more.
var mayImport = map[string][]string{
	"pdk":            {},
	"plugins":        {"pdk"},
	"config":         {},
	"host":           {"pdk"},
	"host/sandbox":   {},
	"host/connector": {"host", "host/sandbox", "host/tracing", "pdk"},
	"host/artifact":  {"host"},
	"host/callout":   {"host", "host/secret", "host/signin", "host/tracing", "pdk"},
	"host/signin":    {"host", "host/secret"},
	"host/secret":    {"host"},
	"host/mapping":   {"host", "pdk"},
	"host/pace":      {"host"},
	"host/provision": {"host", "host/tracing", "pdk"},
	"host/reconcile": {"host", "host/tracing", "pdk"},
	"host/plan":      {"host", "pdk"},
	"host/store":     {"host", "host/access", "pdk"},
	"host/queue":     {"host"},
	"host/access":    {"host"},
	"host/api":       {"host", "host/access", "pdk"},
	"host/console":   {"host", "host/access", "host/api", "pdk"},
	"host/metrics":   {"host"},
	"host/notice":    {"host", "host/secret"},
	"host/tracing":   {"host"},
	"host/backup":    {"host"},
}

func TestImportsPointOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || name == "node_modules" || name == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		if strings.HasPrefix(pkg, "cmd/") || strings.HasSuffix(pkg, "/storetest") {
			return nil
		}
		rule, allowed := ruleOf(pkg)
		if rule == "" {
			t.Errorf("%s: package %s stands in no row of the table", rel, pkg)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range parsed.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			ours, is := strings.CutPrefix(p, module)
			if !is || within(ours, rule) && rule != "host" && rule != "plugins" {
				continue
			}
			seen++
			ok := false
			for _, a := range allowed {
				ok = ok || ours == a || a == "pdk" && strings.HasPrefix(ours, "pdk/")
			}
			if rule == "plugins" {
				ok = ok || within(ours, pluginOf(pkg)) // its own sub-packages
			}
			if !ok {
				t.Errorf("%s imports %s; %s may import only %v", rel, ours, rule, allowed)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Positive(t, seen, "no import was looked at")
}

// ruleOf finds the row of the longest prefix of pkg.
func ruleOf(pkg string) (string, []string) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if allowed, ok := mayImport[p]; ok && (p != "host" || pkg == "host") {
			return p, allowed
		}
	}
	return "", nil
}

func within(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

func pluginOf(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
