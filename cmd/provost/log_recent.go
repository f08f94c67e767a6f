package main

import (
	"slices"
	"sync"
)

// recentLines keeps the newest lines of the log, as JSON, for a support bundle.
// It is for many goroutines.
type recentLines struct {
	mu    sync.Mutex
	lines [][]byte // the oldest first
	bytes int
}

// mostRecentBytes bounds what is kept, longestRecent one line of it.
const mostRecentBytes, longestRecent = 512 << 10, 16 << 10

// Write keeps a line, which a handler writes at once.
func (r *recentLines) Write(line []byte) (int, error) {
	if len(line) > longestRecent {
		return len(line), nil // half of it would be no JSON
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines, r.bytes = append(r.lines, slices.Clone(line)), r.bytes+len(line)
	for r.bytes > mostRecentBytes {
		r.bytes -= len(r.lines[0])
		r.lines[0] = nil
		r.lines = r.lines[1:]
	}
	return len(line), nil
}

// all returns the lines, which are not to be changed.
func (r *recentLines) all() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}
