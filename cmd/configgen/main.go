// Command configgen writes the JSON Schema of the configuration from the Go
// types. With -check it writes nothing and fails where the file is not as it
// would be written.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/provosthq/provost/config"
)

func main() {
	check := flag.Bool("check", false, "only say whether the schema is up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "configgen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	file, err := schemaFile()
	if err != nil {
		return err
	}
	want, err := config.Schema()
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is not up to date; run make generate", file)
	}
	return nil
}

// schemaFile finds the file from wherever in the module the command runs.
func schemaFile() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "config", "provost.schema.json"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above %s; run it in the repository", dir)
		}
		dir = parent
	}
}
