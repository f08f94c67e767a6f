package main

import (
	"bytes"
	wire "encoding/binary"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/plugins/mock/target"
)

// compilerBomb is a small module of one function that takes a compiler minutes
// and gigabytes: thousands of blocks within each other, each of which joins two
// values of thousands of locals where it ends.
func compilerBomb() []byte {
	const n = 4000
	leb := func(n int) []byte { return wire.AppendUvarint(nil, uint64(n)) }
	section := func(id byte, b []byte) []byte { return slices.Concat([]byte{id}, leb(len(b)), b) }
	body := slices.Concat([]byte{1}, leb(n), []byte{0x7e}, bytes.Repeat([]byte{0x20, 0, 0x50, 0x04, 0x40}, n))
	for i := range n {
		body = slices.Concat(body, []byte{0x42, 1, 0x21}, leb(i))
	}
	body = slices.Concat(body, bytes.Repeat([]byte{0x0b}, n), []byte{0x42, 0})
	for i := range n {
		body = slices.Concat(body, []byte{0x20}, leb(i), []byte{0x7c})
	}
	body = append(body, 0x1a, 0x0b)
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, []byte{1, 0x60, 0, 0}), section(3, []byte{1, 0}),
		section(7, []byte{1, 1, 'f', 0, 0}), section(10, slices.Concat([]byte{1}, leb(len(body)), body)))
}

func TestAConnectorThatTakesTheCompilerTooLongIsRefusedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("")
	server := httptest.NewServer(app)
	defer server.Close()
	s.mockApps(server.URL, "unused-token", map[string]string{"mock": "{}"})
	s.start()
	s.connector("hostile.wasm", compilerBomb())
	s.configure(fmt.Sprintf(`
plugins:
  - {name: mock, source: mock.wasm}
  - {name: hostile, source: hostile.wasm, limits: {compile_time: 500ms}}
credentials: [{name: Mock, endpoint: %q, bearer: {token: {value: unused-token}}}]
apps: [{name: mock, plugin: mock, credential: Mock}]
`, server.URL))
	var st api.Status
	s.until("the refusal", func() bool { s.ask("/api/v1/status", nil, &st); return st.LastReloadError != "" })
	require.Contains(t, st.LastReloadError, "takes longer than 500ms to compile")
	s.add("mock", "one")
	s.completed("mock", 1)
	said, err := exec.CommandContext(t.Context(), s.bin, "config", "validate", s.file).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "takes longer than 500ms to compile")
}

func TestTheCompilerIsNoCommandForPeople(t *testing.T) {
	bin, err := binary()
	require.NoError(t, err)
	said, err := exec.CommandContext(t.Context(), bin, compileCommand).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "it can't be used by hand")
	help, err := exec.CommandContext(t.Context(), bin, "--help").CombinedOutput()
	require.NoError(t, err)
	require.NotContains(t, string(help), compileCommand)
}
