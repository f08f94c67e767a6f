package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every text that a configuration can have is a canary, but for those that are
// said to be harmless: whoever adds a key must decide.
func TestNothingIsShownThatIsNotKnownToBeHarmless(t *testing.T) {
	var cfg Config
	n := 0
	var fill func(v reflect.Value, open bool)
	fill = func(v reflect.Value, open bool) {
		text := func() string {
			if n++; open {
				return "shown"
			}
			return fmt.Sprintf("hush-%d", n)
		}
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			if v.Type() == reflect.TypeFor[*Secret]() { // a secret has one before it, and so on
				v.Elem().FieldByName("Value").SetString(text())
				return
			}
			fill(v.Elem(), open)
		case reflect.Struct:
			for _, f := range fields(v.Type()) {
				fill(v.FieldByIndex(f.Index), f.Tag.Get("enum") != "" || f.Tag.Get("path") != "" || slices.Contains(harmless, f.Tag.Get("yaml")))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range 2 {
				fill(v.Index(i), open)
			}
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			value := reflect.New(v.Type().Elem()).Elem()
			if value.Kind() == reflect.Interface {
				value.Set(reflect.ValueOf(text()))
			} else {
				fill(value, false)
			}
			v.SetMapIndex(reflect.ValueOf(text()).Convert(v.Type().Key()), value)
		case reflect.String:
			if v.Type() == reflect.TypeFor[string]() {
				v.SetString(text())
			} else {
				v.SetString("5")
			}
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		}
	}
	fill(reflect.ValueOf(&cfg).Elem(), false)
	require.Greater(t, n, 200)
	shown := fmt.Sprintf("%+v", cfg.Redacted())
	require.NotContains(t, shown, "hush")
	require.Contains(t, shown, "shown")
}

func TestOfAddressesOnlyTheHostIsShown(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://u:canary@db.example.com/x?password=canary": "postgres://db.example.com/…",
		"https://hooks.example.com/canary":                     "https://hooks.example.com/…",
		"https://acme.example.com":                             "https://acme.example.com",
		"builtin:scim":                                         "builtin:scim",
		"sqlite:///var/lib/canary.db":                          "sqlite:(a file)",
		"canary.wasm":                                          "(11 bytes)",
		"oci://registry.example.com/canary@sha256:0":           "oci://registry.example.com/…",
	} {
		require.Equal(t, want, redactAddress(text))
	}
}

func TestTheExampleIsRedactedToItsForm(t *testing.T) {
	cfg, err := Load(write(t, filepath.Join(t.TempDir(), "provost.yaml"), `
plugins: [{name: scim, source: "builtin:scim", limits: {memory: 64MiB, time: 10s}}]
credentials: [{name: Acme, endpoint: "https://acme.example.com/scim/v2", limits: {rate: 20/s}, bearer: {token: {env: ACME_TOKEN}}}]
groups: [{name: admins, members: [hush.person]}]
apps: [{name: acme, plugin: scim, credential: Acme, operations: [Create], scope: 'user.Username != "hush"', mapping: ["userName = user.Username"]}]
`))
	require.NoError(t, err)
	shown := fmt.Sprint(cfg.Redacted())
	require.NotContains(t, shown, "hush")
	for _, want := range []string{"endpoint:https://acme.example.com/…", "rate:20/s", "time:10s", "operations:[Create]", "token:(a secret: env)", "mapping:(1 values)"} {
		require.Contains(t, shown, want)
	}
	require.False(t, strings.Contains(shown, "left out"), shown)
}
