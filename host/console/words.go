package console

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/provosthq/provost/host"
)

// number is how a number is written: 48,211.
func number[T ~int | ~int64 | ~int32](n T) string { return humanize.Comma(int64(n)) }

// count is a number with what it counts: 1 request, 48,211 requests. many is
// empty where it is one with an s.
func count[T ~int | ~int64 | ~int32](n T, one, many string) string {
	return number(n) + " " + english.PluralWord(int(n), one, many)
}

// inWords writes small numbers out, at the beginning of a sentence.
func inWords(n int) string {
	words := []string{"Nothing", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"}
	if n >= 0 && n < len(words) {
		return words[n]
	}
	return number(n)
}

// percent is a share in words: 60 %, 0.4 %.
func percent(share float64) string {
	switch {
	case share == 0:
		return "0 %"
	case share < 0.01:
		return fmt.Sprintf("%.1f %%", share*100)
	default:
		return fmt.Sprintf("%.0f %%", share*100)
	}
}

// took is how long something lasted, as exact as a person reads it.
func took(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return "under 1 µs"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return age(d)
	}
}

// age is a time in one unit: 58 min.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return count(int(d.Hours()/24), "day", "")
	}
}

// ago is how long something is past, or ahead: what stands until the browser
// has told the time itself, which says the same.
func ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d.Abs() < 5*time.Second:
		return "just now"
	case d < -7*24*time.Hour, d > 7*24*time.Hour:
		return then.UTC().Format("2 Jan 2006")
	case d < 0:
		return "in " + age(-d)
	default:
		return age(d) + " ago"
	}
}

type nowKey struct{}

func withNow(ctx context.Context, now time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, now)
}

// nowOf is the time that a page is made at: one for all of it.
func nowOf(ctx context.Context) time.Time {
	if now, ok := ctx.Value(nowKey{}).(time.Time); ok {
		return now
	}
	return time.Now()
}

// message is what a person reads of an error.
func message(err error) string {
	var e *host.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// sentence is a text as a sentence of its own.
func sentence(text string) string {
	text = capital(withoutCommand(text))
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// listed joins words as a sentence does: a, b and c.
func listed(words []string) string { return english.WordSeries(words, "and") }

// shortID is the beginning and the end of an id, for the eye.
func shortID(id string) string {
	if letters := []rune(id); len(letters) > 14 {
		return string(letters[:4]) + "…" + string(letters[len(letters)-4:])
	}
	return id
}
