package oauthtest

import (
	"context"
	"os"
	"os/exec"
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

// Consent opens an authorization URL, signs in as the one person, and clicks
// Allow or Deny. It returns where the browser then is, and what it shows.
func Consent(t testing.TB, browser context.Context, at string, allow bool) (url, text string) {
	t.Helper()
	button := "#deny"
	if allow {
		button = "#allow"
	}
	err := chromedp.Do(browser,
		chromedp.Navigate(at),
		chromedp.WaitVisible("#sign-in"),
		chromedp.SendKeys("#username", Username), chromedp.SendKeys("#password", Password), chromedp.Click("#sign-in"),
		chromedp.WaitVisible(button), chromedp.Click(button),
		chromedp.WaitVisible("#done, #failed"))
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
