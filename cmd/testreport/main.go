// Command testreport reads what go test -json prints and shows a person what
// counts: a line a package, the whole output of what failed, and at the end
// what was skipped and why.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

// event is one line of go test -json (see go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func report(in io.Reader, out io.Writer) error {
	output := map[string][]string{} // by package and test
	var passed, failed, skipped int
	var skips []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // not of a test: what the go command itself says
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			output[key] = append(output[key], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action != "skip" {
					fmt.Fprintf(out, "%-5s %-60s %7.1f s\n", e.Action, e.Package, e.Elapsed)
				}
				if e.Action == "fail" {
					fmt.Fprint(out, strings.Join(output[key], ""))
				}
				delete(output, key)
				continue
			}
			switch e.Action {
			case "pass":
				passed++
			case "fail":
				failed++
				fmt.Fprint(out, strings.Join(output[key], ""))
			case "skip":
				skipped++
				skips = append(skips, fmt.Sprintf("  %s: %s", e.Test, reason(output[key])))
			}
			delete(output, key)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(skips) > 0 {
		fmt.Fprintln(out, "\nskipped:")
		for _, s := range skips {
			fmt.Fprintln(out, s)
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return nil
}

// reason finds what a skipped test said of itself among its lines.
func reason(lines []string) string {
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "===") || strings.HasPrefix(l, "---") {
			continue
		}
		if _, said, ok := strings.Cut(l, ".go:"); ok { // file.go:12: reason
			_, said, _ = strings.Cut(said, ": ")
			return said
		}
		return l
	}
	return "no reason given"
}
