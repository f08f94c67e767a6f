package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/pdk"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "provost %s (contract %d, %s, %s/%s)\n",
				version, pdk.ContractVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
