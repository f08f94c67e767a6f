// Command provost is the host and everything one does with it: it serves,
// shows what is stored, and helps to write connectors. This package wires the
// others; the rules are theirs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and not every machine knows them
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := undumpable(); err != nil { // it works all the same
		fmt.Fprintf(os.Stderr, "provost: a dump of this process could hold secrets: %v\n", err)
	}
	defer stacksOnQuit(os.Stderr, os.Exit)()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command and returns its exit code: 0 done, 1 failed, 2 wrong
// usage. Tests call it in the place of a process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := execute(ctx, root)
	switch {
	case isProblems(err):
		fmt.Fprintln(stderr, messageOf(err))
	case err != nil:
		fmt.Fprintln(stderr, "provost: "+messageOf(err))
	}
	return exitCode(err)
}
