package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/provosthq/provost/host/api"
)

// day is what ended in the last 24 hours: an hour each, the running one last.
type day struct {
	Hours                      []hourBar
	Completed, Retried, Failed int64
}

// hourBar is an hour as it is drawn.
type hourBar struct {
	Begin             time.Time
	Completed, Failed int64
	// X is where its column stands. Of Height, which begins at Y, FailedHeight is
	// for what failed.
	X, Y, Height, FailedY, FailedHeight string
}

// The picture's measures.
const (
	dayHeight  = 96
	dayStep    = 16.6
	hoursOfDay = 24
)

// dayOf draws what ended in the 24 hours until now.
func dayOf(now time.Time, list []api.Activity) day {
	last := now.UTC().Truncate(time.Hour)
	d := day{Hours: make([]hourBar, hoursOfDay)}
	for i := range d.Hours {
		d.Hours[i].Begin = last.Add(time.Duration(i-hoursOfDay+1) * time.Hour)
	}
	most := int64(1)
	for _, a := range list {
		d.Completed, d.Retried, d.Failed = d.Completed+a.Completed, d.Retried+a.Retried, d.Failed+a.Failed
		i := hoursOfDay - 1 - int(last.Sub(a.Hour).Hours())
		if i < 0 || i >= hoursOfDay {
			continue
		}
		h := &d.Hours[i]
		h.Completed += a.Completed
		h.Failed += a.Failed
		most = max(most, h.Completed+h.Failed)
	}
	for i := range d.Hours {
		d.Hours[i].draw(i, most)
	}
	return d
}

// draw gives a column its height: the highest fills the picture, and what there
// is at all can be seen.
func (h *hourBar) draw(i int, most int64) {
	const lowest = 3
	of := func(n int64) float64 {
		if n == 0 {
			return 0
		}
		return max(lowest, (dayHeight-16)*float64(n)/float64(most))
	}
	all, failed := of(h.Completed+h.Failed), of(h.Failed)
	px := func(x float64) string { return fmt.Sprintf("%.1f", x) }
	h.X, h.Y, h.Height = px(1+float64(i)*dayStep), px(dayHeight-all), px(all)
	h.FailedY, h.FailedHeight = px(dayHeight-failed), px(failed)
}

// said is the day in words.
// none: no request has ended.
func (d day) none() bool { return d.Completed+d.Failed == 0 }

func (d day) said() string {
	if d.none() {
		return "No request has ended in the last 24 hours."
	}
	parts := []string{count(d.Completed, "request", "") + " completed"}
	if d.Retried > 0 {
		parts = append(parts, number(d.Retried)+" of them retried")
	}
	if d.Failed > 0 {
		parts = append(parts, number(d.Failed)+" failed")
	}
	return strings.Join(parts, " · ")
}

func (h hourBar) said() string {
	text := h.Begin.Format("15:04 UTC") + ": " + number(h.Completed) + " completed"
	if h.Failed > 0 {
		text += ", " + number(h.Failed) + " failed"
	}
	return text
}
