package term

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// every is how often a line is printed where there is no terminal.
const every = 5 * time.Second

// Progress shows how far long work has come: a bar on a terminal, now and then
// a line elsewhere. Its methods may be called from many goroutines.
type Progress struct {
	w     io.Writer
	label string
	now   func() time.Time

	mu       sync.Mutex
	n, total int64
	began    time.Time
	next     time.Time // when the next line is due
	ended    bool

	bars *mpb.Progress // nil where there is no terminal
	bar  *mpb.Bar
}

// NewProgress begins showing. A total of 0 is not known yet. Call
// [Progress.Done] at the end.
func NewProgress(w io.Writer, label string, total int64) *Progress {
	_, terminal := size(w)
	return newProgress(w, label, total, terminal, time.Now)
}

func newProgress(w io.Writer, label string, total int64, terminal bool, now func() time.Time, opts ...mpb.ContainerOption) *Progress {
	p := &Progress{w: w, label: label, now: now, total: total, began: now()}
	p.next = p.began.Add(every)
	if !terminal {
		return p
	}
	p.bars = mpb.New(append([]mpb.ContainerOption{mpb.WithOutput(w), mpb.WithWidth(26)}, opts...)...)
	p.bar = p.bars.New(total,
		mpb.BarStyle().Lbound("").Filler("█").Tip("█").Padding("░").Rbound(""),
		mpb.PrependDecorators(decor.Name(label+"  ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			p.mu.Lock()
			defer p.mu.Unlock()
			return "  " + p.figures()
		})),
	)
	return p
}

// Set says that n of total are done; a total of 0 is not known.
func (p *Progress) Set(n, total int64) {
	p.mu.Lock()
	p.n, p.total = n, total
	var line string
	if now := p.now(); p.bars == nil && !p.ended && !now.Before(p.next) {
		p.next = now.Add(every)
		line = p.label + "  " + p.figures() + "\n"
	}
	p.mu.Unlock()
	if p.bars != nil {
		// One more than the total keeps mpb from taking the bar for complete
		// before Done; the total may still grow.
		p.bar.SetTotal(max(total, n)+1, false)
		p.bar.SetCurrent(n)
	}
	if line != "" {
		_, _ = io.WriteString(p.w, line) // progress is not worth failing for
	}
}

// Done takes the bar away and prints the summary in its place, if there is one.
// Only the first call counts.
func (p *Progress) Done(summary string) {
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	p.mu.Unlock()
	if ended {
		return
	}
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
	if summary != "" {
		_, _ = fmt.Fprintln(p.w, summary)
	}
}

// figures is such as "38,200 of ~50,000   4,100/s   3 s left".
func (p *Progress) figures() string {
	parts := []string{Count(p.n)}
	if p.total >= p.n && p.total > 0 {
		parts[0] += " of ~" + Count(p.total)
	}
	spent := p.now().Sub(p.began)
	if spent > 0 && p.n > 0 {
		rate := float64(p.n) / spent.Seconds()
		parts = append(parts, Count(int64(rate))+"/s")
		if p.total > p.n {
			left := time.Duration(float64(p.total-p.n) / rate * float64(time.Second))
			parts = append(parts, Duration(left)+" left")
		}
	}
	return strings.Join(parts, "   ")
}

// Count writes n with commas: 38,200.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Duration writes d for a person, with one or two units: 84 µs, 412 ms, 3.8 s,
// 2 min 5 s, 3 h 10 min.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}
