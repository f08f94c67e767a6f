package main

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/plugins/mock/target"
)

func TestLevelsOfConnectorsAndTheFormatChangeWhileItRuns(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(config.Log{Level: "info", Format: "json", Connectors: []config.ConnectorLog{{Name: "acme", Level: "debug"}, {Name: "loud", Level: "error"}}}, &out)
	acme, loud := log.With("connector", "acme", "request", "r"), log.With("connector", "loud")
	lines := func() string { defer out.Reset(); return out.String() }

	acme.Debug("one")
	log.Debug("two", "connector", "acme 1.4.0")
	require.Equal(t, 2, strings.Count(lines(), "\n"))
	loud.Warn("no")
	log.Debug("no")
	log.Debug("no", "connector", "globex")
	log.WithGroup("g").Debug("no", "connector", "acme")
	log.Warn("no", "connector", "loud")
	require.Empty(t, lines())
	require.False(t, loud.Enabled(t.Context(), slog.LevelWarn))
	require.True(t, acme.Enabled(t.Context(), slog.LevelDebug))
	log.Info("yes")
	require.Contains(t, lines(), `"msg":"yes"`)

	log.Handler().(*logHandler).shared.use(config.Log{Level: "debug", Format: "text"})
	acme.Debug("now as text")
	loud.Debug("and this too")
	require.Contains(t, out.String(), `msg="now as text" connector=acme request=r`)
	require.Equal(t, 2, strings.Count(lines(), "\n"))
}

func writeConfig(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

// logged counts log lines of a level with a message.
func (s *served) logged(level, msg string) (n int) {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"level":"`+level+`"`) && strings.Contains(line, `"msg":"`+msg+`"`) {
			n++
		}
	}
	return n
}

func TestEveryAttemptRunAndReloadEndsWithOneLine(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its processes are built without what short runs look for")
	}
	s := newServed(t)
	server := httptest.NewServer(target.New(""))
	t.Cleanup(server.Close)
	configure := func(level string) {
		rest := "plugins: [{name: mock, source: mock.wasm, unsigned: true}]\ncredentials: [{name: Mock, endpoint: \"" + server.URL + "\", anonymous: true}]\n" +
			"apps: [{name: acme, plugin: mock, credential: Mock}]\n"
		writeConfig(t, s.file+".new", "listen: {api: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}\nlog: {level: info, format: json"+level+"}\n"+rest)
		require.NoError(t, os.Rename(s.file+".new", s.file))
	}
	configure("")
	s.start()
	s.add("acme", "ann", "ben")
	s.completed("acme", 2)
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	s.until("the lines", func() bool { return s.logged("INFO", "run ended") == 1 && s.logged("INFO", "attempt ended") == 2 })
	for _, fact := range []string{`"app":"acme"`, `"operation":"Create"`, `"attempt":1`, `"state":"Completed"`, `"callouts":`, `"connector":"mock `, `"found":2`} {
		require.Contains(t, s.log.String(), fact)
	}
	require.NotContains(t, s.log.String(), `"ann"`)
	require.NotContains(t, s.log.String(), `"DEBUG"`)

	configure(", connectors: [{name: mock, level: debug}]")
	s.until("the reload", func() bool { return s.logged("INFO", "the configuration was reloaded") == 1 })
	s.add("acme", "carl")
	s.completed("acme", 3)
	s.until("the callouts of that connector", func() bool { return s.logged("DEBUG", "callout") > 0 })
	s.until("the line", func() bool { return s.logged("INFO", "attempt ended") == 3 })
}

func TestLevelsAreOfConnectorsThatThereAre(t *testing.T) {
	file := t.TempDir() + "/provost.yaml"
	writeConfig(t, file, "plugins: [{name: scim, source: 'builtin:scim'}]\nlog: {plugin_lines: 10/s, connectors: [{name: scin, level: debug}]}\n")
	_, err := config.Load(file)
	require.ErrorContains(t, err, `log.connectors.scin.name: no plugin named "scin"; did you mean "scim"?`)
	writeConfig(t, file, "plugins: [{name: scim, source: 'builtin:scim'}]\nlog: {plugin_lines: many, connectors: [{name: scim, level: loud}]}\n")
	_, err = config.Load(file)
	require.ErrorContains(t, err, "log.plugin_lines")
	require.ErrorContains(t, err, "log.connectors.scim.level")
	writeConfig(t, file, "plugins: [{name: scim, source: 'builtin:scim'}]\nlog: {connectors: [{name: scim, level: debug}]}\n")
	cfg, err := config.Load(file)
	require.NoError(t, err)
	require.Equal(t, []config.ConnectorLog{{Name: "scim", Level: "debug"}}, cfg.Log.Connectors)
	require.InDelta(t, 100, cfg.Log.PluginLines.PerSecond(), 0)
}
