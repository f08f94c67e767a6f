// Command metricsgen writes METRICS.md, the list of all metrics, from the code
// that makes them. With -check it writes nothing and fails where the file is not
// as it would be written.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/provosthq/provost/host/metrics"
)

func main() {
	check := flag.Bool("check", false, "only say whether the list is up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "metricsgen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	file, want := filepath.Join(root, "METRICS.md"), page(metrics.List())
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

// moduleRoot is found from wherever in the module the command runs.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above %s; run it in the repository", dir)
		}
		dir = parent
	}
}

const intro = `# Metrics

<!-- Written by cmd/metricsgen from the code; make generate writes it anew. -->

What ` + "`/metrics`" + ` on ` + "`listen.metrics`" + ` shows, in the text format, in OpenMetrics and as protobuf, whichever the scraper asks for. ` + "`provost metrics list`" + ` prints the same list.

- **Shared**: marked with * are those that are counted in the database. Where several daemons share it, each shows the same: take ` + "`max`" + `, not ` + "`sum`" + `. They are counted when they are scraped, as often as takes a tenth of the time at most; ` + "`provost_counted_timestamp_seconds`" + ` says when that was.
- **Histograms** have classic buckets and, for Prometheus with native histograms, native ones.
- **Exemplars** (OpenMetrics and protobuf) name the request in ` + "`request_id`" + `: ` + "`provost request get ID --trace`" + `.
- **Labels**: app, connector and credential are names of the configuration, code and outcome are ` + "`ok`" + ` or one of the [codes of errors](host/error.go) (` + "`other`" + ` for what is none). A connector has eight versions of its own at once; more are ` + "`other`" + `.
- Beside these there are the Go runtime's and the process's own (` + "`go_*`, `process_*`" + `).

` + "`config/prometheus`" + ` has an example of a scrape configuration and alerts, ` + "`config/grafana/provost.json`" + ` a dashboard.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
`

func page(list []metrics.Family) []byte {
	var b bytes.Buffer
	b.WriteString(intro)
	for _, f := range list {
		mark := ""
		if f.Scope == metrics.OfDatabase {
			mark = " *"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s | %s |\n", f.Name, mark, f.Type, strings.Join(f.Labels, ", "), strings.ReplaceAll(f.Help, "|", `\|`))
	}
	return b.Bytes()
}
