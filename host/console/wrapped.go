package console

import (
	"context"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Wrapped is a text without spaces, such as an address or a path: where it is too
// long for its place it is broken after a sign, not within a word.
func Wrapped(s string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, breaks.ReplaceAllString(templ.EscapeString(s), "$0<wbr>"))
		return err
	})
}

// breaks are the signs after which a text may be broken; one at its end is left
// alone. None of them is part of an escape. A _ counts as a letter, so that no word
// begins after it.
var breaks = regexp.MustCompile(`[@.:/=\]]\b|_+\B`)

var (
	// duration and share are words of their own: an address may have the like in it.
	duration = regexp.MustCompile(`(^|[\s(])((?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|µs|s)|\d+h(?:\d+m)?)([,;:.)]*(?:\s|$))`)
	share    = regexp.MustCompile(`(\d)%([,;:.)]*(?:\s|$))`)
	moment   = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z\b`)
)

// readable writes what a log says, or the reason for something, as pages write
// it: 10 min for 10m0s, 5 % for 5%.
func readable(text string) string {
	text = duration.ReplaceAllStringFunc(text, func(s string) string {
		m := duration.FindStringSubmatch(s)
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return s
		}
		if d == 0 { // it was rounded
			return m[1] + "under 1 ms" + m[3]
		}
		return m[1] + took(d) + m[3]
	})
	return share.ReplaceAllString(text, "$1 %$2")
}

// momentsIn cuts a text at the moments that it names, so that they are told in
// the reader's zone: what stands before each, and after the last with no moment.
func momentsIn(text string) (list []textAndMoment) {
	for {
		at := moment.FindStringIndex(text)
		if at == nil {
			return append(list, textAndMoment{Text: text})
		}
		when, err := time.Parse(time.RFC3339Nano, text[at[0]:at[1]])
		if err != nil { // such as the 31st of February
			return append(list, textAndMoment{Text: text})
		}
		list = append(list, textAndMoment{text[:at[0]], when})
		text = text[at[1]:]
	}
}

type textAndMoment struct {
	Text   string
	Moment time.Time
}

// withoutCommand is the text of a notice or of a log without the command that it
// names for who reads it in a terminal.
func withoutCommand(text string) string {
	before, _, _ := strings.Cut(text, "   -> ")
	return readable(before)
}
