package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
)

// firstConfig is what init writes: enough to begin with the console.
const firstConfig = `# Provost's configuration. Whatever stands here is declared here; apps,
# credentials and connectors that are made in the console are stored in the
# database beside it. "provost config schema" is for editors.
data_dir: data                     # the database, unless database.url names PostgreSQL
listen:
  api: 127.0.0.1:8080              # the console is at http://127.0.0.1:8080/console
  metrics: 127.0.0.1:9464          # for Prometheus

# users: {attributes: [costCenter]}          # the organisation's own attributes of people
# trust: {require_signature: true}           # connectors must be signed by one of signers
# notify: [{name: duty, webhook: {url: https://alerts.example.com/provost, secret: {env: HOOK_SECRET}}}]
`

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init [FILE]", Short: "Write a first configuration, to begin with the console", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := configFile("")
			if len(args) == 1 {
				file = args[0]
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				return host.Errorf(host.Conflict, "%s is there already, and stays as it is   -> provost serve --config %s", file, file)
			}
			if err == nil {
				_, err = f.WriteString(firstConfig)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				return host.Errorf(host.InvalidInput, "%w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is written   -> provost serve --config %s, then http://127.0.0.1:8080/console\n", file, file)
			return nil
		},
	}
}

// missingConfig is the error of a configuration that is not there.
func missingConfig(file string) error {
	return host.Errorf(host.InvalidInput, "no configuration at %s; give --config FILE or set PROVOST_CONFIG, or begin with one   -> provost init", file)
}
