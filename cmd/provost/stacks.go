package main

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"syscall"
)

// stacksOnQuit makes SIGQUIT write what each goroutine does and end the process,
// as Go's runtime would, but without the arguments of functions: what is passed
// by value, such as a key, would be read in them.
func stacksOnQuit(w io.Writer, exit func(code int)) (stop func()) {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		select {
		case <-quit:
			_, _ = io.WriteString(w, "SIGQUIT: quit\n\n") // there is nobody to tell
			_, _ = w.Write(stacks())
			exit(2)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(quit)
		close(done)
	}
}

// arguments are those of a function's line in a stack.
var arguments = regexp.MustCompile(`(?m)^([^\t\n].*)\([^()\n]*\)$`)

// stacks is what each goroutine does.
func stacks() []byte {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		return []byte(err.Error())
	}
	return arguments.ReplaceAll(b.Bytes(), []byte("$1(...)"))
}
