package oauthtest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Browser starts a Chromium without a window, which ends with the test. Where
// there is none the test is skipped, but in CI it fails.
func Browser(t testing.TB) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Chromium; .ci/run installs it")
		}
		t.Skip("there is no Chromium (apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	browser, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	limited, cancel := context.WithTimeout(browser, 5*time.Minute)
	t.Cleanup(cancel)
	return limited
}

// SignIn signs in as the one person in a browser and clicks Allow or Deny, which
// is a selector, and waits for what comes then. It opens an address before, where
// there is one.
func SignIn(browser context.Context, at, button string) error {
	steps := []chromedp.Action[chromedp.Void]{visible("#sign-in"), chromedp.SendKeys("#username", Username), chromedp.SendKeys("#password", Password), chromedp.Click("#sign-in"),
		visible(button), chromedp.Click(button), visible("#done, #failed")}
	if at != "" {
		steps = append([]chromedp.Action[chromedp.Void]{chromedp.Navigate(at)}, steps...)
	}
	return chromedp.Do(browser, steps...)
}

// visible waits for what is to be seen, anew where the page ends the wait by
// giving way to the next.
func visible(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		for {
			err := chromedp.Do(ctx, chromedp.WaitVisible(selector))
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "navigated or closed") {
				return err
			}
		}
	})
}

// Consent opens an authorization URL, signs in as the one person, and clicks
// Allow or Deny. It returns where the browser then is, and what it shows.
func Consent(t testing.TB, browser context.Context, at string, allow bool) (url, text string) {
	t.Helper()
	button := "#deny"
	if allow {
		button = "#allow"
	}
	err := SignIn(browser, at, button)
	if err == nil {
		url, err = chromedp.Run(browser, chromedp.Location())
	}
	if err == nil {
		text, err = chromedp.Run(browser, chromedp.Text("body"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return url, text
}
