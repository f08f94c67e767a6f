package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPluginNewIsBuiltAndKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles a connector for wasip1")
	}
	dir := filepath.Join(t.TempDir(), "acme")
	made := provost("plugin", "new", "acme", "--lang", "go", "--dir", dir) // the tests run inside the checkout
	require.Zero(t, made.code, made.errors)
	assert.Contains(t, made.out, "provost plugin build")

	file := filepath.Join(t.TempDir(), "acme.wasm")
	built := provost("plugin", "build", dir, "-o", file)
	require.Zero(t, built.code, built.errors)
	tested := provost("plugin", "test", file)
	assert.Zero(t, tested.code, tested.out+tested.errors)
	assert.Contains(t, provost("plugin", "inspect", file).out, "acme 0.1.0")
}

func TestPluginNewRefusesAndWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"a bad name", []string{"Acme"}, "no name for a connector"},
		{"an unknown language", []string{"acme", "--lang", "cobol"}, "no template"},
		{"a PDK that is none", []string{"acme", "--pdk", t.TempDir()}, "no checkout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := provost(append([]string{"plugin", "new", "--dir", dir}, c.args...)...)
			assert.NotZero(t, r.code)
			assert.Contains(t, r.errors, c.says)
			_, err := os.Stat(dir)
			assert.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}
