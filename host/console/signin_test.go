package console

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
)

// given is what a person could type into an input.
func given(in signInInput) string {
	switch {
	case len(in.Options) > 0:
		return in.Options[1].Value
	case in.Path == "algorithm":
		return "sha512"
	case in.Path == "role_arn":
		return "arn:aws:iam::123456789012:role/provost"
	case in.Path == "path":
		return "/login"
	case in.Path == "header":
		return "X-Key"
	case in.List:
		return "read write"
	case in.Path == "issuer" || filepath.Ext("."+in.Path) == ".audience" || len(in.Path) > 4 && in.Path[len(in.Path)-4:] == "_url":
		return "https://idp.example.com/" + in.Path
	default:
		return "given"
	}
}

// accepts tells whether the configuration takes an entry.
func accepts(t *testing.T, document map[string]any) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "provost.yaml")
	require.NoError(t, os.WriteFile(file, []byte("data_dir: .\n"), 0o600))
	text, err := json.Marshal(document)
	require.NoError(t, err)
	_, err = config.LoadStored(file, []config.Stored{{List: "credentials", Name: "Acme", Document: text}})
	return err
}

func TestEachFormOfASignInMakesACredentialThatCanBeChanged(t *testing.T) {
	for _, k := range signInKinds {
		t.Run(k.Name, func(t *testing.T) {
			form := url.Values{"name": {"Acme"}, "endpoint": {"https://acme.example.com/"}, "rate": {"20/s"}}
			for _, in := range k.Inputs {
				form.Set("in."+in.Path, given(in))
			}
			name, document := k.document(form, nil)
			require.Equal(t, "Acme", name)
			require.NoError(t, accepts(t, document))
			is, known := signInKindIn(copied(document))
			require.True(t, known)
			require.Equal(t, k.Name, is.Name)

			// As it is shown, without secrets, and sent back: nothing else is changed.
			document["timeout"] = "7s"
			text, err := json.Marshal(document)
			require.NoError(t, err)
			entry, err := config.ParseEntry("credentials", "", text)
			require.NoError(t, err)
			entry.Hide()
			shown, err := entry.JSON()
			require.NoError(t, err)
			require.NotContains(t, string(shown), `"value":"`)
			var before map[string]any
			require.NoError(t, json.Unmarshal(shown, &before))
			_, after := k.document(k.form(before), before)
			require.Equal(t, before, after)
			for _, f := range k.changed(k.form(before), before, "") {
				require.False(t, f.Required && f.Value == "", "%s need not be given again", f.Name)
			}

			// What is emptied is gone.
			form.Set("rate", "")
			_, after = k.document(form, before)
			require.NotContains(t, object(after, "limits"), "rate")
		})
	}
}

func TestASignInWithoutAFormIsKnownAsSuch(t *testing.T) {
	for _, document := range []map[string]any{{"name": "A", "headers": []any{}}, {"name": "A"}, {"oauth2": "no object"}, nil} {
		_, known := signInKindIn(document)
		require.False(t, known, document)
	}
}
