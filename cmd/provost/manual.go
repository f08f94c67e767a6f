package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/provosthq/provost/host"
)

// newManualCommand writes what packages bring: the pages are made from the
// commands themselves, so they can't say anything else.
func newManualCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages, one a command", Args: cobra.ExactArgs(1),
		Long: `Writes provost.1 and a page for each command into a folder, which is made if
need be: provost man ~/.local/share/man/man1. SOURCE_DATE_EPOCH sets their date.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			date := time.Now()
			if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
				seconds, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return host.Errorf(host.InvalidInput, "SOURCE_DATE_EPOCH %q is no number of seconds", text)
				}
				date = time.Unix(seconds, 0)
			}
			date = date.UTC()
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // it has a date of its own
			header := &doc.GenManHeader{Title: "PROVOST", Section: "1", Date: &date, Source: "Provost " + version, Manual: "Provost"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			pages, err := os.ReadDir(args[0])
			if err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d pages in %s   -> man -l %s/provost.1\n", len(pages), args[0], args[0])
			return err
		},
	}
}
