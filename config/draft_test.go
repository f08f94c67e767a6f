package config

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func draftConfig(t *testing.T) *Config {
	c, err := LoadText(filepath.Join(t.TempDir(), "provost.yaml"), []byte(`
plugins: [{name: scim, source: "builtin:scim"}]
credentials: [{name: Acme, endpoint: "https://acme.example.com", anonymous: true}]
groups: [{name: leads, members: [ada]}]
apps: [{name: acme, plugin: scim, credential: Acme, on_delete: delete, delete_after: 30d, mapping: [userName = user.Username], reconcile: {thresholds: {delete: "7"}}}]
`), nil)
	require.NoError(t, err)
	return c
}

func TestADraftIsCheckedAsAFileIs(t *testing.T) {
	c := draftConfig(t)
	app, problems := c.DraftApp("acme", []byte(`{"name":"acme","plugin":"scim","label":"Acme \u003c3","delete_after":"48h"}`))
	require.Empty(t, problems)
	require.Equal(t, "Acme <3", app.Label)
	require.Equal(t, 48*time.Hour, app.DeleteAfter)
	require.Equal(t, []string{"Create", "Update", "EnableAndDisable"}, app.Operations, "defaults are filled in")
	require.Equal(t, Threshold("5%"), app.Reconcile.Thresholds.Delete)
	require.Len(t, c.Apps, 1)
	require.Equal(t, "acme", c.Apps[0].Label, "the configuration is as it was")

	_, problems = c.DraftApp("new", []byte(`{"name":"new","credential":"Acmee","operations":["Create","Bake"],"approval":"group","delete_after":"3 days","nonsense":1}`))
	text := map[string]string{}
	for _, p := range problems {
		require.Empty(t, p.File)
		text[p.Key] = p.Message
	}
	require.Equal(t, map[string]string{
		"apps.new.plugin": "is missing", "apps.new.credential": `no credential named "Acmee"; did you mean "Acme"?`,
		"apps.new.operations[1]":  `"Bake" is not known; write Create, Update, EnableAndDisable, SuspendAndRestore or Delete`,
		"apps.new.approval_group": "is missing; name one of groups", "apps.new.delete_after": `"3 days" is no duration; write a number with ms, s, m or h, such as 10s`,
		"apps.new.nonsense": text["apps.new.nonsense"],
	}, text)
	require.Contains(t, text["apps.new.nonsense"], "unknown key")
	for _, bad := range []string{"", "[]", "{", "- a"} {
		_, problems := c.DraftApp("new", []byte(bad))
		require.Len(t, problems, 1, bad)
	}
}
