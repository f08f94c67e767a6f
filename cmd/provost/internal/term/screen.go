package term

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Frame is one picture of a [Screen]: what is written there fits its width.
type Frame struct {
	bytes.Buffer
	width int
}

// Screen is a terminal that shows one frame after the other in place, and gives
// back what was there before when it closes. It is for one goroutine.
type Screen struct {
	w    io.Writer
	size func() (width, height int, err error)
}

// NewScreen takes a terminal; ok is false where w is none.
func NewScreen(w io.Writer) (s *Screen, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	return newScreen(w, func() (int, int, error) { return term.GetSize(int(f.Fd())) }), true
}

// The sequences are those of every terminal since the VT220 and xterm.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the other buffer, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeScreen  = "\x1b[H"
	restOfLine  = "\x1b[K"
	restOfAll   = "\x1b[J"
)

func newScreen(w io.Writer, size func() (int, int, error)) *Screen {
	_, _ = io.WriteString(w, enterScreen) // the first frame tells
	return &Screen{w, size}
}

// Frame begins a picture.
func (s *Screen) Frame() *Frame {
	width, _, err := s.size()
	if err != nil {
		width = 80
	}
	return &Frame{width: width}
}

// Show shows a picture. What does not fit the terminal is left out, which the
// last line says.
func (s *Screen) Show(f *Frame) error {
	lines := strings.Split(strings.TrimRight(f.String(), "\n"), "\n")
	_, height, err := s.size()
	if err == nil && height > 1 && len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… and %d lines more: make the window larger, or see all with --once", left))
	}
	var b strings.Builder
	b.WriteString(homeScreen)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		if f.width > 0 {
			line = cells.Truncate(printable(line), f.width, "…")
		}
		b.WriteString(line + restOfLine)
	}
	b.WriteString(restOfAll)
	_, err = io.WriteString(s.w, b.String())
	return err
}

// Close gives the terminal back.
func (s *Screen) Close() error {
	_, err := io.WriteString(s.w, leaveScreen)
	return err
}
