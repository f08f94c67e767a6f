package term

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFrameFitsTheTerminalAndLeavesNothingOfTheOneBefore(t *testing.T) {
	var w bytes.Buffer
	width, height := 20, 4
	s := newScreen(&w, func() (int, int, error) { return width, height, nil })
	f := s.Frame()
	require.NoError(t, Table(f, []string{"APP", "ERROR"}, [][]string{{"acme", strings.Repeat("long ", 20)}}))
	fmt.Fprintln(f, "\x1b[31mcan't steer it, and is much too long")
	require.NoError(t, s.Show(f))
	shown := w.String()
	require.True(t, strings.HasPrefix(shown, enterScreen+homeScreen))
	for line := range strings.SplitSeq(strings.TrimPrefix(shown, enterScreen+homeScreen), "\r\n") {
		line, ok := strings.CutSuffix(strings.TrimSuffix(line, restOfAll), restOfLine)
		require.True(t, ok)
		require.LessOrEqual(t, cells.StringWidth(line), width, line)
		require.NotContains(t, line, "\x1b")
	}
	w.Reset()
	f = s.Frame()
	for i := range 9 {
		fmt.Fprintf(f, "line %d\n", i)
	}
	require.NoError(t, s.Show(f))
	require.Contains(t, w.String(), "line 2")
	require.NotContains(t, w.String(), "line 3")
	require.Contains(t, w.String(), "… and 6 lines more")
	require.NoError(t, s.Close())
	require.True(t, strings.HasSuffix(w.String(), leaveScreen), "the terminal is given back")

	s.size = func() (int, int, error) { return 0, 0, errors.New("gone") }
	f = s.Frame()
	fmt.Fprintln(f, "still shown")
	w.Reset()
	require.NoError(t, s.Show(f))
	require.Contains(t, w.String(), "still shown")
}

func TestThereIsNoScreenWithoutATerminal(t *testing.T) {
	_, ok := NewScreen(new(bytes.Buffer))
	require.False(t, ok)
}
