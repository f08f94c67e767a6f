package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/scaffold"
	"github.com/provosthq/provost/host"
)

// pdkVariable names a checkout to take the PDK from.
const pdkVariable = "PROVOST_PDK"

func newPluginNew() *cobra.Command {
	var lang, dir, pdkDir string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a connector that builds and passes its tests",
		Long: `Writes a small connector called NAME, with a target in memory to test it
against. It builds and passes its tests as it is.

The PDK comes from the module proxy; with --pdk or ` + pdkVariable + `, or inside a
checkout of this repository, it comes from that checkout.`,
		Example: "  provost plugin new acme\n  provost plugin new acme --dir ./connectors/acme",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if dir == "" {
				dir = name
			}
			if pdkDir == "" {
				pdkDir = os.Getenv(pdkVariable)
			}
			if pdkDir == "" {
				here, err := os.Getwd()
				if err != nil {
					return host.Errorf(host.Internal, "%w", err)
				}
				pdkDir = scaffold.Checkout(here)
			}
			if err := scaffold.Write(dir, name, lang, pdkDir); err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			if err := scaffold.Tidy(cmd.Context(), dir); err != nil {
				// Write began with an empty folder, so this takes only what it wrote.
				return host.Errorf(host.Unavailable, "nothing is written, since the PDK can't be fetched   -> --pdk CHECKOUT or %s: %w", pdkVariable, errors.Join(err, os.RemoveAll(dir)))
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s   -> cd %s && go test ./... && provost plugin build .\n", dir, dir)
			return err
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "go", "language: "+strings.Join(scaffold.Languages(), ", "))
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write (default: NAME here)")
	cmd.Flags().StringVar(&pdkDir, "pdk", "", "checkout of "+scaffold.Module+" to take the PDK from")
	return cmd
}
