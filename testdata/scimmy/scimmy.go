// Package scimmy starts a SCIM server by other authors, in another language,
// for tests: scimmy with scimmy-routers on Node.js.
package scimmy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Start starts the server and returns its URL; it ends with the test. Where
// Node.js or the packages can't be had the test is skipped, and in CI it fails.
func Start(t testing.TB, token string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(file)
	lacks := func(format string, args ...any) {
		t.Helper()
		if os.Getenv("CI") != "" {
			t.Fatalf(format, args...)
		}
		t.Skipf(format, args...)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		lacks("needs Node.js: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "scimmy-routers")); err != nil {
		install := exec.Command("npm", "ci", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			lacks("npm ci in testdata/scimmy: %v: %s", err, out)
		}
	}
	server := exec.Command(node, filepath.Join(dir, "server.mjs"))
	server.Env = append(os.Environ(), "TOKEN="+token)
	server.Stderr = os.Stderr
	stdin, err := server.StdinPipe() // its end tells the server that we are gone
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // the process is killed next
		_ = server.Process.Kill()
		_ = server.Wait() // killed, so it always is an error
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	return strings.TrimSpace(line)
}
