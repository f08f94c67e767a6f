package console

import (
	"fmt"
	"strconv"
	"time"

	"github.com/a-h/templ"
)

// Col is the head of a column of a table.
type Col struct {
	Label string
	// Number: it is right-aligned, as its cells with the class num are.
	Number bool
	// Hidden: only a screen reader says the label, as of a column of buttons.
	Hidden bool
	// Sort is where the head leads to sort by it, "" for nowhere; Sorted says how
	// it is sorted now: ascending, descending or "".
	Sort, Sorted string
}

func cols(labels ...string) []Col {
	list := make([]Col, len(labels))
	for i, l := range labels {
		list[i] = Col{Label: l}
	}
	return list
}

// Part is a piece of a bar, of one tone.
type Part struct {
	Tone string
	N    int64
	// What it counts, for who does not see it.
	What string
}

// piece is a part as it is drawn, from X on, both in percent of the whole.
type piece struct{ Tone, X, Width string }

func pieces(parts []Part) (list []piece) {
	total := int64(0)
	for _, p := range parts {
		total += p.N
	}
	x := 0.0
	for _, p := range parts {
		if p.N == 0 {
			continue
		}
		w := 100 * float64(p.N) / float64(total)
		list = append(list, piece{p.Tone, fmt.Sprintf("%.2f%%", x), fmt.Sprintf("%.2f%%", w)})
		x += w
	}
	return list
}

func barLabel(parts []Part) string {
	var words []string
	for _, p := range parts {
		if p.N > 0 {
			words = append(words, number(p.N)+" "+p.What)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return listed(words)
}

// Confirmation asks a second time before what can't be taken back, or does much.
type Confirmation struct {
	// ID is of the dialog, unique on its page.
	ID string
	// Button opens it: a word or two; Tone is danger, go or "".
	Button, Tone string
	Title        string
	// Text says what will happen, and what will not.
	Text templ.Component
	// Action is posted to; Yes is on the button that does it, with the number of
	// what it is done to.
	Action, Yes string
	// Fields are posted with it, unseen.
	Fields map[string]string
	// Note asks for a reason, as the field note; NoteLabel says of what.
	NoteLabel    string
	NoteRequired bool
}

// Field is one input of a form, with what is wrong with it beside it.
type Field struct {
	Name, Label, Value string
	// Type is text where it is empty; password, email, number, search, url.
	Type string
	// Hint says what goes here; Problem what is wrong with what stands here.
	Hint, Problem string
	Required      bool
	// Options make it a choice of one.
	Options []Option
	// Lines make it a text of several lines.
	Lines int
	// Secret: what is typed is one; so it is with the type password, and of a one-time
	// code.
	Secret bool
	// Off: it is shown and can't be changed here.
	Off bool
	// Autocomplete is as in HTML; off where it is empty.
	Autocomplete string
}

// Option is one of what a field can be.
type Option struct{ Value, Label string }

func (f Field) described() string {
	switch {
	case f.Problem != "" && f.Hint != "":
		return f.Name + "-problem " + f.Name + "-hint"
	case f.Problem != "":
		return f.Name + "-problem"
	case f.Hint != "":
		return f.Name + "-hint"
	default:
		return ""
	}
}

// secret tells whether what is typed is one. Of several lines it has no type that
// says so.
func (f Field) secret() bool {
	return f.Secret || f.Type == "password" || f.Autocomplete == "one-time-code"
}

// attributes say of a field what its problem and its hint are, and that it is a
// secret: that the browser neither keeps nor has looked at by who checks spelling.
func (f Field) attributes() templ.Attributes {
	a := templ.Attributes{}
	if f.secret() {
		a["data-secret"], a["spellcheck"] = true, "false"
	}
	if f.Problem != "" {
		a["aria-invalid"] = "true"
	}
	if by := f.described(); by != "" {
		a["aria-describedby"] = by
	}
	return a
}

func (f Field) kind() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

func (f Field) complete() string {
	if f.Autocomplete == "" {
		return "off"
	}
	return f.Autocomplete
}

// filled is how much of a bar is full, in percent.
func filled(done, total int64) string {
	if total <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%.2f%%", min(100, 100*float64(done)/float64(total)))
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func exactly(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") }

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

func ariaSort(c Col) string {
	if c.Sorted == "" {
		return "none"
	}
	return c.Sorted
}

func sortMark(c Col) string {
	switch c.Sorted {
	case "ascending":
		return "▲"
	case "descending":
		return "▼"
	default:
		return ""
	}
}

func itoa[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
