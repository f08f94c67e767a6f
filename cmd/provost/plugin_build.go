package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
)

func newPluginBuild() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile a connector written in Go",
		Long: `Compiles the connector in DIR (default: this folder) with plain go build for
wasip1. The module is called after the folder.`,
		Example: "  provost plugin build .\n  provost plugin build ./acme -o /tmp/acme.wasm",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return buildConnector(cmd, dir, file)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write (default: FOLDER.wasm here)")
	return cmd
}

func buildConnector(cmd *cobra.Command, dir, file string) error {
	from, err := filepath.Abs(dir)
	if err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	if info, err := os.Stat(from); err != nil || !info.IsDir() {
		return host.Errorf(host.InvalidInput, "%s: there is no such folder   -> provost plugin new NAME --lang go", dir)
	}
	if file == "" {
		file = filepath.Base(from) + ".wasm"
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	build := exec.CommandContext(cmd.Context(), "go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", to, ".")
	build.Dir = from
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	var said bytes.Buffer
	build.Stdout, build.Stderr = &said, &said
	if err := build.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return host.Errorf(host.Unavailable, "go is not in PATH; connectors in Go are built with Go 1.26 or later: https://go.dev/dl")
		}
		_, _ = cmd.ErrOrStderr().Write(said.Bytes()) // the compiler's own lines; what follows is the error
		return host.Errorf(host.InvalidInput, "%s does not build (%s); the compiler's lines are above", dir, strings.TrimSpace(err.Error()))
	}
	info, err := os.Stat(to)
	if err != nil {
		return host.Errorf(host.Internal, "%w", err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s   -> provost plugin test %s\n", file, bytesText(info.Size()), file)
	return err
}
