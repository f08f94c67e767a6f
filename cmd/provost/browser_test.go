package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/signin/oauthtest"
)

// reader is somebody who looks at the console in a real Chromium. What goes
// wrong in a page (an error of a script, something that its policy forbids, a
// file that is not there) fails the test.
type reader struct {
	t   *testing.T
	ctx context.Context
	url string

	mu    sync.Mutex
	wrong []string
}

// newReader opens a browser for the console at a URL.
func newReader(t *testing.T, url string) *reader {
	t.Helper()
	r := &reader{t: t, ctx: oauthtest.Browser(t), url: url}
	listening, stop := context.WithCancel(r.ctx)
	var listener sync.WaitGroup
	messages := chromedp.Console(listening)
	listener.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == "error" || m.Type == chromedp.ConsoleException || strings.Contains(m.Text, "Content Security Policy") {
				r.mu.Lock()
				r.wrong = append(r.wrong, m.Text)
				r.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { stop(); listener.Wait() })
	return r
}

// do does something in the browser, and looks whether something went wrong.
func (r *reader) do(steps ...chromedp.Action[chromedp.Void]) {
	r.t.Helper()
	require.NoError(r.t, chromedp.Do(r.ctx, steps...))
	r.fine()
}

func (r *reader) fine() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(r.t, r.wrong, "the browser's console")
}

// misses goes to a page that is not there, or not for this reader: the browser's
// console says so, too.
func (r *reader) misses(path string) {
	r.t.Helper()
	require.NoError(r.t, chromedp.Do(r.ctx, chromedp.Navigate(r.url+path), chromedp.WaitReady("#content")))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = nil
}

// open goes to a page of the console and waits until its scripts have run.
func (r *reader) open(path string) {
	r.t.Helper()
	var err error
	for range 10 {
		err = chromedp.Do(r.ctx, chromedp.Navigate(r.url+path))
		if err == nil || !strings.Contains(err.Error(), "ERR_ABORTED") { // the page before was on its way to another
			break
		}
	}
	require.NoError(r.t, err)
	r.do(chromedp.WaitReady("#content"))
	_, err = chromedp.Run(r.ctx, chromedp.Poll[bool](`document.readyState === "complete" && typeof htmx !== "undefined"`))
	require.NoError(r.t, err)
	r.fine()
}

// text is what is to be read on the page.
func (r *reader) text() string {
	r.t.Helper()
	text, err := chromedp.Run(r.ctx, chromedp.Text("body"))
	require.NoError(r.t, err)
	return text
}

// swapped waits until htmx listens to what it has put into the page, sooner than
// a person could type.
var swapped = chromedp.WaitNotPresent(".htmx-added, .htmx-settling, .htmx-swapping")

// sees waits until something is to be read on the page.
func (r *reader) sees(what string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		text, err := chromedp.Run(r.ctx, chromedp.Text("body"))
		return err == nil && strings.Contains(text, what)
	}, 20*time.Second, 50*time.Millisecond, "%q is not to be read at %s", what, r.at())
	r.fine()
}

// at is the path of the page.
func (r *reader) at() string {
	at, err := chromedp.Run(r.ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(at, r.url)
}

// presses the first button or link that has exactly that text, of those to be
// seen, and waits until what follows is there.
func (r *reader) presses(label string) {
	r.t.Helper()
	text, err := json.Marshal(label)
	require.NoError(r.t, err)
	find := `[...document.querySelectorAll("button, a")].find((e) => e.innerText.trim() === ` + string(text) + ` && e.checkVisibility())`
	require.Eventually(r.t, func() bool {
		there, err := chromedp.Run(r.ctx, chromedp.Evaluate[bool](`{ const e = `+find+`; e?.setAttribute("data-pressed", ""); !!e }`))
		return err == nil && there
	}, 20*time.Second, 50*time.Millisecond, "there is no %q to press at %s", label, r.at())
	r.do(chromedp.Click("[data-pressed]"))
	_, err = chromedp.Run(r.ctx, chromedp.Evaluate[any](`document.querySelector("[data-pressed]")?.removeAttribute("data-pressed")`))
	if err != nil { // the page is going
		r.t.Log(err)
	}
}

// A view is how a page may be looked at.
type view struct {
	name          string
	width, height int64
	dark          bool
}

var views = []view{{name: "light", width: 1360, height: 860}, {name: "dark", width: 1360, height: 860, dark: true}, {name: "narrow", width: 400, height: 820}}

// looksAt shows the page as somebody with other eyes or another screen has it.
func (r *reader) looksAt(l view) {
	r.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	r.do(chromedp.EmulateViewport(l.width, l.height), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

// pictures keeps a picture of the page in each look, where PROVOST_SCREENSHOTS
// names a folder.
func (r *reader) pictures(name string) {
	r.t.Helper()
	dir := os.Getenv("PROVOST_SCREENSHOTS")
	if dir == "" {
		return
	}
	require.NoError(r.t, os.MkdirAll(dir, 0o750))
	for _, l := range views {
		r.looksAt(l)
		png, err := chromedp.Run(r.ctx, chromedp.FullScreenshot(100))
		require.NoError(r.t, err)
		require.NoError(r.t, os.WriteFile(filepath.Join(dir, name+"-"+l.name+".png"), png, 0o600))
	}
	r.looksAt(views[0])
}

// hasNoBarriers lets axe-core look at the page in each look: nothing that it
// calls serious or critical may be there, and nothing may be wider than the
// screen.
func (r *reader) hasNoBarriers(axe string) {
	r.t.Helper()
	for _, l := range views {
		r.looksAt(l)
		_, err := chromedp.Run(r.ctx, chromedp.Evaluate[any](axe+";0"))
		require.NoError(r.t, err)
		found, err := chromedp.Run(r.ctx, chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations
			.filter((v) => v.impact === "serious" || v.impact === "critical")
			.map((v) => v.id + ": " + v.help + " | " + v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + " (" + (n.any[0]?.message ?? "") + ")").join(" | ")))`, chromedp.EvalAwaitPromise))
		require.NoError(r.t, err)
		require.Empty(r.t, found, "axe-core in %s at %s", l.name, r.at())
		beyond, err := chromedp.Run(r.ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
		require.NoError(r.t, err)
		require.LessOrEqual(r.t, beyond, 0, "something is wider than the screen in %s at %s", l.name, r.at())
	}
	r.looksAt(views[0])
	r.fine()
}

// axeCore is the script of axe-core, from npm. Where it can't be had the test is
// skipped, and in CI it fails.
func axeCore(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("looks at every page, one after the other: nothing that the race detector would see")
	}
	dir := filepath.Join("..", "..", "testdata", "console")
	file := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(file); err != nil {
		install := exec.Command("npm", "ci", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("npm ci in testdata/console: %v: %s", err, out)
			}
			t.Skipf("needs axe-core: npm ci in testdata/console: %v", err)
		}
	}
	script, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(script)
}
