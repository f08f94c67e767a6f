package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
)

const compileCommand = "compile-module"

// newCompileCommand is what the sandbox runs to have a module compiled in a
// process of its own.
func newCompileCommand() *cobra.Command {
	return &cobra.Command{
		Use: compileCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Compile a module for the sandbox of the process that runs this",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sandbox.CompileMain(cmd.InOrStdin(), cmd.OutOrStdout()) != 0 {
				return host.Errorf(host.Internal, "the module was not compiled")
			}
			return nil
		},
	}
}

// moduleCompiler is this program as it runs, also where its file has been
// replaced since; none where the system does not say.
func moduleCompiler() []string {
	const running = "/proc/self/exe"
	if _, err := os.Stat(running); err == nil {
		return []string{running, compileCommand}
	}
	if program, err := os.Executable(); err == nil {
		return []string{program, compileCommand}
	}
	return nil
}
