// Command contractgen writes the JSON Schemas of the connector contract, and
// the codec of its documents, from the Go types in pdk. With -check it writes nothing and fails where a file is
// not as it would be written.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/invopop/jsonschema"

	"github.com/provosthq/provost/pdk"
)

//go:generate go run .

func main() {
	check := flag.Bool("check", false, "only say whether the schemas are up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "contractgen:", err)
		os.Exit(1)
	}
}

// documents are the contract's, each a schema file of that name.
var documents = []struct {
	name, title string
	value       any
}{
	{"input", "What the host hands to every operation except describe", pdk.Input{}},
	{"output", "What every operation except describe and discover answers", pdk.Output{}},
	{"description", "What describe answers", pdk.Description{}},
	{"discovery", "What discover answers", pdk.Discovery{}},
	{"error", "What went wrong: passed to error_set, and the body of a callout's answer that has the status 0", pdk.Error{}},
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(contractDir(root), "schema")
	if !check {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, d := range documents {
		want, err := schema(d.name, d.title, d.value)
		if err != nil {
			return err
		}
		if err := keep(filepath.Join(dir, d.name+".schema.json"), want, check); err != nil {
			return err
		}
	}
	want, err := codec()
	if err != nil {
		return fmt.Errorf("the codec: %w", err)
	}
	return keep(filepath.Join(root, "pdk", "codec_gen.go"), want, check)
}

// keep writes a file, or with check compares it.
func keep(file string, want []byte, check bool) error {
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w; run make generate", err)
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is not up to date; run make generate", file)
	}
	return nil
}

// schema is the schema of one document. Fields that it does not name are
// allowed everywhere: the contract grows, and what one side does not know it
// ignores.
func schema(name, title string, value any) ([]byte, error) {
	r := jsonschema.Reflector{AllowAdditionalProperties: true, ExpandedStruct: true}
	s := r.Reflect(value)
	s.ID = jsonschema.ID(schemaID(name))
	s.Title = title
	// Go leaves an empty list or map nil, which is null as JSON.
	tolerateNull(s)
	for _, d := range s.Definitions {
		tolerateNull(d)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("the schema of %s: %w", name, err)
	}
	return b.Bytes(), nil
}

func schemaID(name string) string {
	return fmt.Sprintf("https://github.com/provosthq/provost/contract/v%d/%s.schema.json", pdk.ContractVersion, name)
}

// tolerateNull lets required lists be null.
func tolerateNull(s *jsonschema.Schema) {
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if p.Value.Type != "array" || !slices.Contains(s.Required, p.Key) {
			continue
		}
		description := p.Value.Description
		p.Value.Description = ""
		p.Value = &jsonschema.Schema{Description: description, OneOf: []*jsonschema.Schema{p.Value, {Type: "null"}}}
	}
}

func contractDir(root string) string {
	return filepath.Join(root, "testdata", "contract", fmt.Sprintf("v%d", pdk.ContractVersion))
}

// moduleRoot is the module's folder, from wherever in it the command runs.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above %s; run it in the repository", dir)
		}
		dir = parent
	}
}
