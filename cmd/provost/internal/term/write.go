// Package term prints what commands answer: listings as a table that fits the
// terminal, as JSON or as YAML, and the progress of long work. It knows nothing
// of what it prints.
package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// The formats that [Write] knows.
const (
	FormatTable = "table"
	FormatJSON  = "json"
	FormatYAML  = "yaml"
)

// Formats lists them, for the help of a flag and for completion.
func Formats() []string { return []string{FormatTable, FormatJSON, FormatYAML} }

// Write prints data in the format. JSON and YAML show data itself, with the
// names of its JSON tags in their order; a table shows cols and rows, and where
// there are no cols the same as YAML. An empty format is a table.
func Write(w io.Writer, format string, data any, cols []string, rows [][]string) error {
	switch format {
	case FormatJSON:
		b, err := marshal(data)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	case FormatYAML:
		return writeYAML(w, data)
	case FormatTable, "":
		if len(cols) == 0 {
			return writeYAML(w, data)
		}
		return Table(w, cols, rows)
	default:
		return fmt.Errorf("no output format %q; there are %s", format, strings.Join(Formats(), ", "))
	}
}

func marshal(data any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(data); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return b.Bytes(), nil
}

// writeYAML goes by way of JSON, so that both show the same names.
func writeYAML(w io.Writer, data any) error {
	b, err := marshal(data)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	plain(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	return enc.Close()
}

// plain takes the quotes and braces of JSON off; the encoder puts quotes where
// YAML needs them.
func plain(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// gap is what stands between two columns.
const gap = "  "

// minColumn is how narrow a column may become before the table grows past the
// terminal instead.
const minColumn = 8

// Table prints headers and rows in aligned columns. On a terminal the widest
// columns are cut, with an ellipsis, until a row fits; elsewhere nothing is.
func Table(w io.Writer, headers []string, rows [][]string) error {
	width, _ := size(w)
	return table(w, width, headers, rows)
}

// table is Table for a terminal of a width; 0 is no limit.
func table(w io.Writer, width int, headers []string, rows [][]string) error {
	lines := make([][]string, 0, len(rows)+1)
	widths := make([]int, len(headers))
	for _, row := range append([][]string{headers}, rows...) {
		line := make([]string, len(headers))
		for i := range line {
			if i < len(row) {
				line[i] = printable(row[i])
			}
			widths[i] = max(widths[i], cells.StringWidth(line[i]))
		}
		lines = append(lines, line)
	}
	if width > 0 {
		shrink(widths, width-len(gap)*(len(widths)-1))
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			if cells.StringWidth(cell) > widths[i] {
				cell = cells.Truncate(cell, widths[i], "…")
			}
			if i < len(line)-1 {
				cell = cells.FillRight(cell, widths[i]) + gap
			}
			line[i] = cell
		}
		b.WriteString(strings.TrimRight(strings.Join(line, ""), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cells counts the columns of a terminal that a string takes.
var cells = &runewidth.Condition{StrictEmojiNeutral: true}

// shrink takes from the widest columns until all together fit.
func shrink(widths []int, room int) {
	total := 0
	for _, w := range widths {
		total += w
	}
	for ; total > room; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if len(widths) == 0 || widths[widest] <= minColumn {
			return
		}
		widths[widest]--
	}
}

// printable keeps what others wrote from steering the terminal or breaking a
// row.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		default:
			return r
		}
	}, s)
}

// size returns the width of the terminal that w is; terminal is false where it
// is none.
func size(w io.Writer) (width int, terminal bool) {
	if f, ok := w.(*Frame); ok {
		return f.width, true
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, true
	}
	return width, true
}
