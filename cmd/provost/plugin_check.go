package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/contractcheck"
	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/sandbox"
)

func newPluginTest() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Try a connector against the contract, in the sandbox",
		Long: `Makes the contract's first checks against any connector, whatever language it
is written in: that it loads, describes itself the same way twice and without
HTTP, exports what it lists, ignores fields of later versions, refuses wrong
input with a typed error, and stands targets that fail or answer nonsense. No
real target is called.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			a, err := trialArtifacts().Get(cmd.Context(), args[0], artifact.Options{})
			if err != nil {
				return err
			}
			return withSandbox(cmd.Context(), func(sb *sandbox.Runtime) error {
				results, err := contractcheck.Run(cmd.Context(), sb, a.Name, a.Wasm)
				if err != nil {
					return err
				}
				if output == term.FormatTable {
					err = writeResults(cmd.OutOrStdout(), results)
				} else {
					err = term.Write(cmd.OutOrStdout(), output, results, nil, nil)
				}
				if err != nil {
					return err
				}
				count := map[contractcheck.Outcome]int{}
				for _, r := range results {
					count[r.Outcome]++
				}
				if n := count[contractcheck.Failed]; n > 0 {
					return host.Errorf(host.ConnectorFault, "%s: %d of %d checks failed; pdk/CONTRACT.md says what the contract wants", args[0], n, len(results))
				}
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d checks ok, %d skipped\n", args[0], count[contractcheck.OK], count[contractcheck.Skipped])
				return err
			})
		},
	}
	addFormatFlag(cmd, &output)
	return cmd
}

// writeResults shows one check a line and, below it, what is wrong.
func writeResults(w io.Writer, results []contractcheck.Result) error {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "%-8s %s\n", r.Outcome, r.Check)
		if r.Detail != "" {
			fmt.Fprintf(&b, "%-8s   %s\n", "", oneLine(r.Detail))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
