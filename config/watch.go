package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// WatchOptions are the options of [Watch].
type WatchOptions struct {
	// Debounce is how long nothing may happen before a change counts; 0 means
	// 200 ms. An editor or a copy takes several steps.
	Debounce time.Duration
	// Poll is how often the files are looked at though nothing was announced, as
	// file systems of other machines do not; 0 means 15 s.
	Poll time.Duration
	// Ready is called once, when every change from now on is seen.
	Ready func()
}

// Watch calls changed, from its own goroutine and one call at a time, whenever
// the content of the configuration file, of conf.d beside it or of one of files
// is another than before. It asks files anew after each change. Editors that
// rename and links that are pointed elsewhere are changes like any other; a
// write of the same content is none, nor is what happens to other files beside
// them. It returns nil when ctx ends.
func Watch(ctx context.Context, path string, files func() []string, changed func(), o WatchOptions) error {
	if o.Debounce <= 0 {
		o.Debounce = 200 * time.Millisecond
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer fs.Close()
	if o.Poll <= 0 {
		o.Poll = 15 * time.Second
	}
	w := watcher{fs: fs, path: path, files: files}
	if err := w.follow(); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	listed, last := w.listed(), w.fingerprints()
	if o.Ready != nil {
		o.Ready()
	}
	quiet := time.NewTimer(o.Debounce)
	quiet.Stop()
	defer quiet.Stop()
	// due: the timer runs. ours: one of the files may be another, not only what
	// lies beside them, which may never be at rest.
	due, ours := false, false
	wait := func(again bool) {
		if again || !due {
			quiet.Reset(o.Debounce)
		}
		due = true
	}
	poll := time.NewTicker(o.Poll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
			wait(false)
		case <-ctx.Done():
			return nil
		case e, ok := <-fs.Events:
			if !ok {
				return nil
			}
			concerns := w.known[e.Name]
			ours = ours || concerns
			wait(concerns)
		case _, ok := <-fs.Errors:
			if !ok {
				return nil
			}
			ours = true // events may be lost: look
			wait(true)
		case <-quiet.C:
			due = false
			before := listed
			listed = w.listed()
			if !ours && !maps.EqualFunc(before, listed, sameFile) { // nobody said when
				ours = true
				_ = w.follow()
				wait(true)
				continue
			}
			if !ours {
				continue
			}
			if w.isBeingWritten() { // when it is closed or written to again, it is announced
				wait(true)
				continue
			}
			ours = false
			_ = w.follow() // a directory that is away is followed again when it is back
			now := w.fingerprints()
			if maps.Equal(now, last) {
				continue
			}
			changed()
			_ = w.follow()
			// What changed during the call, which may have seen it or not, is a
			// change of its own. Only a connector's file that is named since the
			// call counts as it is: nobody knows how it was before.
			last = w.fingerprints()
			for file, before := range now {
				if _, there := last[file]; there && before != last[file] || !there && w.isOwn(file) {
					last[file] = before
					ours = true
				}
			}
			for file := range last {
				if _, known := now[file]; !known && w.isOwn(file) {
					last[file] = ""
					ours = true
				}
			}
			if ours {
				wait(true)
			}
		}
	}
}

type watcher struct {
	fs    *fsnotify.Watcher
	path  string
	files func() []string
	// known are the files, and what they link to, as they were when they were last
	// followed.
	known map[string]bool
}

func (w *watcher) all() []string {
	files := append([]string{w.path}, w.files()...)
	// The pattern can only be wrong where the path itself has brackets.
	more, _ := filepath.Glob(filepath.Join(filepath.Dir(w.path), "conf.d", "*.yaml"))
	return append(files, more...)
}

// isOwn tells whether a file is of the configuration itself, in conf.d.
func (w *watcher) isOwn(file string) bool {
	return filepath.Dir(file) == filepath.Join(filepath.Dir(w.path), "conf.d")
}

// follow watches the directories of the files and of what they link to, since a
// file that is replaced is another file.
func (w *watcher) follow() error {
	dir := filepath.Dir(w.path)
	// What is not there yet is followed when it appears.
	_ = w.fs.Add(filepath.Join(dir, "conf.d"))
	w.known = map[string]bool{}
	for _, file := range w.all() {
		w.known[file] = true
		_ = w.fs.Add(filepath.Dir(file))
		if real, err := filepath.EvalSymlinks(file); err == nil {
			w.known[real] = true
			_ = w.fs.Add(filepath.Dir(real))
		}
	}
	return w.fs.Add(dir)
}

// listed has what a directory says of each file: cheap to look at.
func (w *watcher) listed() map[string]os.FileInfo {
	all := map[string]os.FileInfo{}
	for _, file := range w.all() {
		if info, err := os.Stat(file); err == nil {
			all[file] = info
		}
	}
	return all
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// isBeingWritten tells whether somebody has one of the files open to write to,
// as far as the system tells.
func (w *watcher) isBeingWritten() bool {
	return slices.ContainsFunc(w.all(), isBeingWritten)
}

// fingerprints has the hash of each file's content, "" for one that can't be
// read.
func (w *watcher) fingerprints() map[string]string {
	all := map[string]string{}
	for _, file := range w.all() {
		all[file] = fingerprint(file)
	}
	return all
}

func fingerprint(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return string(h.Sum(nil))
}
