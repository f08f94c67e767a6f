package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host/metrics"
)

func newMetricsCommand() *cobra.Command {
	var format string
	list := &cobra.Command{
		Use: "list", Short: "List every metric with its type, labels and meaning; * is the same at every daemon of a database", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			families := metrics.List()
			rows := make([][]string, len(families))
			for i, f := range families {
				shared := ""
				if f.Scope == metrics.OfDatabase {
					shared = "*"
				}
				rows[i] = []string{f.Name, f.Type, shared, strings.Join(f.Labels, ", "), f.Help}
			}
			return term.Write(cmd.OutOrStdout(), format, families, []string{"METRIC", "TYPE", "", "LABELS", "MEANING"}, rows)
		},
	}
	addFormatFlag(list, &format)
	cmd := &cobra.Command{Use: "metrics", Short: "What Prometheus scrapes"}
	cmd.AddCommand(list)
	return cmd
}
