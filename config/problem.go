package config

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Problem is one mistake in the configuration.
type Problem struct {
	// File is the file, or the environment variable, that has the mistake; Line
	// is 0 where there is none.
	File string
	Line int
	// Key is the value at fault, an entry of a list by its name:
	// apps.acme.mapping[3]. It is "" for the whole file.
	Key string
	// Message says what is wrong and what to write instead.
	Message string
}

// Problems are all mistakes of a configuration, by file and line. It is the
// error that [Load] returns.
type Problems []Problem

// Error has a line for each problem and a last one that counts them.
func (p *Problems) Error() string {
	where := make([]string, len(*p))
	width := 0
	for i, one := range *p {
		where[i] = one.File
		if one.Line > 0 {
			where[i] = fmt.Sprintf("%s:%d", one.File, one.Line)
		}
		width = max(width, utf8.RuneCountInString(where[i]))
	}
	var b strings.Builder
	for i, one := range *p {
		b.WriteString(where[i] + strings.Repeat(" ", width-utf8.RuneCountInString(where[i])+2))
		if one.Key != "" {
			b.WriteString(one.Key + ": ")
		}
		b.WriteString(one.Message + "\n")
	}
	if len(*p) == 1 {
		b.WriteString("1 problem; nothing was changed.")
	} else {
		fmt.Fprintf(&b, "%d problems; nothing was changed.", len(*p))
	}
	return b.String()
}

// Check finds problems that this package can't know of, such as a wrong
// expression. It fills Key and Message; [Load] finds the file and line.
type Check func(*Config) []Problem

type position struct {
	file string
	line int
}

// Locate makes the error of problems that were found later than by [Load]: each
// with its file and line, in their order.
func (c *Config) Locate(problems []Problem) *Problems {
	p := Problems(problems)
	for i := range p {
		p[i] = c.locate(p[i])
	}
	p = sorted(p, c.File)
	return &p
}

// locate fills in file and line from the key, or from what contains it.
func (c *Config) locate(p Problem) Problem {
	if p.File != "" {
		return p
	}
	p.File = c.File
	for key := p.Key; key != ""; {
		if at, ok := c.at[key]; ok {
			p.File, p.Line = at.file, at.line
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return p
}

func sorted(p []Problem, main string) []Problem {
	sort.SliceStable(p, func(i, j int) bool {
		if p[i].File != p[j].File {
			if (p[i].File == main) != (p[j].File == main) {
				return p[i].File == main
			}
			return p[i].File < p[j].File
		}
		return p[i].Line < p[j].Line
	})
	return p
}

// suggest is `; did you mean "x"?` where one of words is near, else "".
func suggest(word string, words []string) string {
	best, least := "", len(word)/3+1
	for _, w := range words {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d < least || d == least && best == "" {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
