package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
)

var decoders = map[string]func([]byte) error{
	"input":       func(b []byte) error { _, err := pdk.DecodeInput(b); return err },
	"output":      func(b []byte) error { _, err := pdk.DecodeOutput(b); return err },
	"description": func(b []byte) error { _, err := pdk.DecodeDescription(b); return err },
	"discovery":   func(b []byte) error { _, err := pdk.DecodeDiscovery(b); return err },
	"error": func(b []byte) error {
		e := pdk.DecodeError(b)
		if strings.Contains(e.Message, "{") { // the document itself: it was not read
			return e
		}
		return nil
	},
}

func TestSchemasAreUpToDate(t *testing.T) {
	require.NoError(t, run(true))
}

func TestSchemasAreTheSameEachTime(t *testing.T) {
	for _, d := range documents {
		one, err := schema(d.name, d.title, d.value)
		require.NoError(t, err)
		two, err := schema(d.name, d.title, d.value)
		require.NoError(t, err)
		assert.Equal(t, string(one), string(two), d.name)
	}
}

func TestExamplesFitTheSchemasAndTheTypes(t *testing.T) {
	schemas := compiled(t)
	root, err := moduleRoot()
	require.NoError(t, err)
	dir := contractDir(root)
	files, err := filepath.Glob(filepath.Join(dir, "examples", "*.json"))
	require.NoError(t, err)
	seen := map[string]int{}
	for _, file := range files {
		kind, _, _ := strings.Cut(filepath.Base(file), "-")
		seen[kind]++
		t.Run(filepath.Base(file), func(t *testing.T) {
			require.Contains(t, schemas, kind)
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.NoError(t, schemas[kind].Validate(parse(t, string(b))))
			assert.NoError(t, decoders[kind](b))
		})
	}
	for kind := range schemas {
		assert.NotZero(t, seen[kind], "there is no example of %s", kind)
	}
}

func TestSchemasIgnoreFieldsOfLaterVersions(t *testing.T) {
	schemas := compiled(t)
	for kind, doc := range map[string]string{
		"input":       `{"operation":"read","later":1,"User":{"Id":"1","Username":"a","IsActive":true,"Later":{}}}`,
		"output":      `{"later":[1],"accounts":[{"ExternalUserId":"1","later":true}],"pending":{"token":"t","later":1}}`,
		"description": `{"name":"a","version":"1.0.0","contractVersion":1,"operations":["describe","later"],"later":{}}`,
		"discovery":   `{"objectClasses":[{"name":"account","attributes":null,"later":1}],"capabilities":{"operations":null,"later":1},"limits":{"later":1},"later":1}`,
		"error":       `{"type":"NotFound","message":"m","later":1}`,
	} {
		assert.NoError(t, schemas[kind].Validate(parse(t, doc)), kind)
		assert.NoError(t, decoders[kind]([]byte(doc)), kind)
	}
}

func TestSchemasAndTypesRefuseTheSame(t *testing.T) {
	schemas := compiled(t)
	for _, c := range []struct{ name, kind, doc string }{
		{"an input without its operation", "input", `{}`},
		{"a wrong type", "input", `{"operation":"read","attempt":"1"}`},
		{"an unknown mode", "input", `{"operation":"reconcile","mode":"half"}`},
		{"an account without an id", "output", `{"accounts":[{}]}`},
		{"an unknown change", "output", `{"accounts":[{"ExternalUserId":"1","change":"moved"}]}`},
		{"pending without a token", "output", `{"pending":{}}`},
		{"a description without operations", "description", `{"name":"a","version":"1.0.0","contractVersion":1}`},
		{"an object class without a name", "discovery", `{"objectClasses":[{"attributes":[]}],"capabilities":{"operations":[]},"limits":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := c.doc
			assert.Error(t, schemas[c.kind].Validate(parse(t, doc)))
			err := decoders[c.kind]([]byte(doc))
			require.Error(t, err)
			assert.Equal(t, pdk.InvalidInput, pdk.TypeOf(err))
			assert.Contains(t, err.Error(), "$", "it names the place")
		})
	}
}

func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	root, err := moduleRoot()
	require.NoError(t, err)
	dir := contractDir(root)
	all := map[string]*jsonschema.Schema{}
	for _, d := range documents {
		b, err := os.ReadFile(filepath.Join(dir, "schema", d.name+".schema.json"))
		require.NoError(t, err)
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource(schemaID(d.name), parse(t, string(b))))
		all[d.name], err = c.Compile(schemaID(d.name))
		require.NoError(t, err)
	}
	return all
}

func parse(t *testing.T, doc string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(doc)))
	require.NoError(t, err)
	return v
}
