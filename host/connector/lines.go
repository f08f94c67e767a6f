package connector

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

const (
	// maxLine bounds one line of a connector, in bytes.
	maxLine = 2000
	// defaultLines is how many lines a connector may log in a second.
	defaultLines = 100
	// linesBurst is for how many seconds it may be without a line before.
	linesBurst = 2
)

// lines bounds what one connector logs, in all its versions. What is beyond is
// counted, and the count is logged once, when there is room again.
type lines struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	dropped int
	since   time.Time
	// all is how many were ever dropped.
	all int64
}

// LimitLines sets how many lines each connector may log in a second, from now
// on; 0 is the default of 100.
func (c *Catalogue) LimitLines(perSecond float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linesPerSecond = perSecond
	for _, l := range c.lines {
		l.limiter.SetLimitAt(c.options.Now(), lineLimit(perSecond))
		l.limiter.SetBurstAt(c.options.Now(), lineBurst(perSecond))
	}
}

func lineLimit(perSecond float64) rate.Limit {
	if perSecond <= 0 {
		perSecond = defaultLines
	}
	return rate.Limit(perSecond)
}

func lineBurst(perSecond float64) int { return max(1, int(linesBurst*float64(lineLimit(perSecond)))) }

// Dropped counts the lines of each connector that were dropped since the start.
func (c *Catalogue) Dropped() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]int64, len(c.entries))
	for name := range c.entries {
		all[name] = 0
	}
	for name, l := range c.lines {
		l.mu.Lock()
		all[name] = l.all
		l.mu.Unlock()
	}
	return all
}

// tellDropped says what was dropped and not said yet.
func (c *Catalogue) tellDropped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, l := range c.lines {
		l.told(c.options.Logger.With("connector", name), c.options.Now(), 0)
	}
}

// linesOf is what bounds the lines of a connector.
func (c *Catalogue) linesOf(name string) *lines {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[name]
	if l == nil {
		if c.lines == nil {
			c.lines = map[string]*lines{}
		}
		l = &lines{limiter: rate.NewLimiter(lineLimit(c.linesPerSecond), lineBurst(c.linesPerSecond))}
		c.lines[name] = l
	}
	return l
}

// log logs a line of a connector, if it may.
func (l *lines) log(log *slog.Logger, now time.Time, level slog.Level, line string) {
	if !log.Enabled(context.Background(), level) {
		return
	}
	l.mu.Lock()
	may := l.limiter.AllowN(now, 1)
	if !may {
		l.all++
		if l.dropped++; l.dropped == 1 {
			l.since = now
		}
	}
	l.mu.Unlock()
	if may {
		l.told(log, now, 0)
		log.Log(context.Background(), level, line, "source", "plugin")
	}
}

// told says how many lines were dropped, if the first of them was so long ago.
func (l *lines) told(log *slog.Logger, now time.Time, ago time.Duration) {
	l.mu.Lock()
	n, since := l.dropped, l.since
	if n == 0 || now.Sub(since) < ago {
		l.mu.Unlock()
		return
	}
	l.dropped = 0
	l.mu.Unlock()
	log.Warn("the connector logs too much: lines were dropped", "dropped", n, "since", since)
}

// escapes are what a terminal obeys: CSI, OSC, DCS and its like, and the
// shorter ones.
var escapes = regexp.MustCompile("(?s)\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_].*?(?:\x07|\x1b\\\\|$)|\x1b[ -/]*[0-~]|\u009b[0-?]*[ -/]*[@-~]")

// cleanLine makes one bounded line of what a connector wrote, without what
// would be obeyed, or shown as something else, where it is read.
func cleanLine(line string) string {
	if len(line) > 4*maxLine {
		line = line[:4*maxLine] // most of it is not kept anyway
	}
	line = escapes.ReplaceAllString(strings.ToValidUTF8(line, "\uFFFD"), "")
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r), r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e' || r == '\u200f' || r == '\ufeff':
			return -1
		}
		return r
	}, line))
	if len(line) <= maxLine {
		return line
	}
	cut := maxLine
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}
