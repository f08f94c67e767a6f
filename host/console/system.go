package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// systemPage is how the host does.
type systemPage struct {
	api.System
	Status  api.Status
	Checks  []api.Check
	Targets []api.Target
	Waits   []api.Wait
	Trends  []api.Trend
	Needs   []need
	// Doctor is what a look at everything said; nil where none was taken.
	Doctor []api.Check
	// Diff is what a reload would do; nil where nobody asked.
	Diff    *api.ConfigDiff
	Operate bool
}

func (c *console) system(w http.ResponseWriter, r *http.Request) error {
	p, err := c.systemPage(r.Context())
	if err != nil {
		return err
	}
	if isPart(r) {
		return c.part(w, r, trendsPart(p.Trends))
	}
	return c.showSystem(w, r, p)
}

func (c *console) showSystem(w http.ResponseWriter, r *http.Request, p systemPage) error {
	return c.show(w, r, Page{Title: "System", Sub: systemSub(p), Current: "system", Actions: systemActions(p)}, systemBody(p))
}

func (c *console) systemPage(ctx context.Context) (p systemPage, err error) {
	p.Operate = mayAt(ctx, "", access.ViewSetup, access.OperateHost)
	p.Checks = c.Service.Readiness(ctx).Checks
	if p.System, err = c.Service.System(ctx); err != nil {
		return p, err
	}
	if p.Status, err = c.Service.Status(ctx); err != nil {
		return p, err
	}
	if p.Targets, err = c.Service.Targets(ctx); err != nil {
		return p, err
	}
	if p.Waits, err = c.Service.Waits(ctx); err != nil {
		return p, err
	}
	if p.Trends, err = c.Service.Trends(ctx); err != nil {
		return p, err
	}
	notices, err := c.Service.Notices(ctx, c.Now().Add(-failedSince))
	p.Needs = needsOf(notices)
	return p, err
}

// systemDoctor looks at everything.
func (c *console) systemDoctor(w http.ResponseWriter, r *http.Request) error {
	p, err := c.systemPage(r.Context())
	if err != nil {
		return err
	}
	if p.Doctor, err = c.Service.Doctor(r.Context()); err != nil {
		return err
	}
	return c.showSystem(w, r, p)
}

// systemDiff tells what a reload would do.
func (c *console) systemDiff(w http.ResponseWriter, r *http.Request) error {
	p, err := c.systemPage(r.Context())
	if err != nil {
		return err
	}
	diff, err := c.Service.Diff(r.Context())
	if err != nil {
		return c.refused(w, r, Path+"/system", err)
	}
	p.Diff = &diff
	return c.showSystem(w, r, p)
}

func (c *console) systemReload(w http.ResponseWriter, r *http.Request) error {
	done, err := c.Service.Reload(r.Context())
	if err != nil {
		return c.refused(w, r, Path+"/system", err)
	}
	if names := slices.Sorted(maps.Keys(done.Refused)); len(names) > 0 {
		return c.done(w, r, Path+"/system", Flash{Tone: "warn", Text: "The configuration runs, but for " + listed(names) + ": " + done.Refused[names[0]] + ". What served before goes on."})
	}
	return c.done(w, r, Path+"/system", Flash{Tone: "good", Text: "The configuration of the files is what runs."})
}

func toneOfCheck(s api.CheckStatus) string {
	switch s {
	case api.CheckOK:
		return "good"
	case api.CheckWarn:
		return "warn"
	default:
		return "bad"
	}
}

func wordOfCheck(s api.CheckStatus) string {
	return map[api.CheckStatus]string{api.CheckOK: "Well", api.CheckWarn: "Look", api.CheckFail: "Fails"}[s]
}

// isReady tells whether no check failed.
func isReady(checks []api.Check) bool { return api.ReadinessOf(checks).Ready() }

// curve is the picture of a trend: the points of a line in a box of curveWidth by
// curveHeight, and of the area below it.
func curve(t api.Trend) (line, area string) {
	if len(t.Points) < 2 {
		return "", ""
	}
	first, last := t.Points[0].At, t.Points[len(t.Points)-1].At
	most := peak(t)
	var b strings.Builder
	for _, p := range t.Points {
		x := curveWidth * p.At.Sub(first).Seconds() / max(last.Sub(first).Seconds(), 1)
		y := curveHeight - 2.0
		if most > 0 {
			y -= (curveHeight - 4) * p.Value / most
		}
		fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
	}
	line = strings.TrimSpace(b.String())
	return line, fmt.Sprintf("0,%d %s %d,%d", curveHeight, line, curveWidth, curveHeight)
}

const curveWidth, curveHeight = 240, 48

// peak is the greatest value of a trend.
func peak(t api.Trend) (most float64) {
	for _, p := range t.Points {
		most = max(most, p.Value)
	}
	return most
}

// newest is the last value of a trend, for people.
func newest(t api.Trend) string {
	if len(t.Points) == 0 {
		return "—"
	}
	return measured(t, t.Points[len(t.Points)-1].Value)
}

// measured is a value of a trend, for people.
func measured(t api.Trend, v float64) string {
	switch {
	case t.Bytes:
		return sizeText(v)
	case t.PerSecond && v == 0:
		return "0/s"
	case t.PerSecond && v < 10:
		return fmt.Sprintf("%.1f/s", v)
	case t.PerSecond:
		return number(int64(v)) + "/s"
	default:
		return number(int64(v))
	}
}

// trendLabel says a trend to who does not see it.
func trendLabel(t api.Trend) string {
	return t.What + ": now " + newest(t) + ", at most " + measured(t, peak(t)) + " in the last hour"
}

// waitsText says what requests wait for.
func waitsText(w api.Wait) string {
	words := map[string]string{"approval": "for somebody to approve", "authorization": "for somebody to authorize the credential", "target": "for the app to answer", "review": "for somebody to review a run",
		"resume": "until somebody resumes them", "later": "for their time", "worker": "for their turn", "nothing": "under way"}
	if text := words[w.For]; text != "" {
		return text
	}
	return w.For
}

func queueText(queue map[string]int64) string {
	var total int64
	for _, n := range queue {
		total += n
	}
	return count(total, "job", "") + " wait or run"
}
