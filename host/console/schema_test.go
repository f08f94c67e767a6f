package console

import (
	"bytes"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

const someSchema = `{"type":"object","required":["site"],"properties":{
	"site":{"type":"string","title":"Site","description":"Where it is."},
	"token":{"type":"string","format":"password"},
	"pageSize":{"type":"integer","minimum":1,"default":100},
	"share":{"type":"number"},
	"flat":{"type":"boolean"},
	"update":{"enum":["auto","put",3]},
	"hosts":{"type":"array","items":{"type":"string"}},
	"retry":{"type":"object","properties":{"times":{"type":"integer"},"deep":{"type":"object","properties":{"x":{"type":"string"}}}}},
	"odd":true,"either":{"type":["string","null"]}}}`

func schemaOf(t *testing.T) (schema map[string]any) {
	require.NoError(t, json.Unmarshal([]byte(someSchema), &schema))
	return schema
}

func TestAFormIsMadeOfASchemaAndGivesTheSameValuesBack(t *testing.T) {
	values := map[string]any{"site": "a<b>", "token": "canary", "pageSize": 7.0, "share": 0.5, "flat": false, "update": 3.0, "hosts": []any{"a", "b"},
		"retry": map[string]any{"times": 2.0, "deep": map[string]any{"x": "y"}}, "odd": []any{1.0}, "either": "e"}
	fields := schemaFields(schemaOf(t), values, "settings")
	kinds := map[string]kind{}
	for _, f := range fields {
		kinds[f.key] = f.Kind
	}
	require.Equal(t, map[string]kind{"site": kindText, "token": kindSecret, "pageSize": kindInteger, "share": kindNumber, "flat": kindTruth, "update": kindChoice,
		"hosts": kindList, "retry": kindObject, "odd": kindJSON, "either": kindText}, kinds)
	require.Equal(t, "site", fields[0].key, "what must be given comes first")

	var page bytes.Buffer
	require.NoError(t, SchemaForm(fields).Render(t.Context(), &page))
	require.NotContains(t, page.String(), "canary", "a secret is shown nowhere")
	require.NotContains(t, page.String(), "<b>")
	require.Contains(t, page.String(), "Without it: 100.")

	form := url.Values{}
	var fill func([]schemaField)
	fill = func(list []schemaField) {
		for _, f := range list {
			form.Set(f.Name, f.Value)
			fill(f.Fields)
		}
	}
	fill(fields)
	form.Set("settings.flat", "false")
	form.Set("settings.update", "3")
	form.Set("settings.other", "is not in the schema")
	got, problems := schemaValues(fields, form, values)
	require.Empty(t, problems)
	want, err := json.Marshal(values)
	require.NoError(t, err)
	have, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(have))

	none, problems := schemaValues(fields, url.Values{}, nil)
	require.Empty(t, problems)
	require.Empty(t, none, "what is left empty is as if it were not there")
}

func TestWhatCannotBeReadStaysInItsInputWithWhy(t *testing.T) {
	fields := schemaFields(schemaOf(t), nil, "s")
	form := url.Values{"s.pageSize": {"many"}, "s.share": {"half"}, "s.update": {"never"}, "s.odd": {"{"}, "s.retry.times": {"1.5"}, "s.token": {"canary"}}
	values, problems := schemaValues(fields, form, nil)
	require.Equal(t, map[string]any{"token": "canary"}, values)
	require.Len(t, problems, 5)
	require.Equal(t, `"many" is no whole number`, problems["s.pageSize"])
	var page bytes.Buffer
	require.NoError(t, SchemaForm(withProblems(fields, problems, form)).Render(t.Context(), &page))
	require.Contains(t, page.String(), `value="many"`)
	require.Contains(t, page.String(), "is no whole number")
	require.NotContains(t, page.String(), "canary")
}

func FuzzSchemaForm(f *testing.F) {
	f.Add(someSchema, "settings.pageSize=1")
	f.Add(`{"properties":{"":{"type":["null"]}}}`, "x")
	f.Fuzz(func(t *testing.T, schema, query string) {
		var any any
		if json.Unmarshal([]byte(schema), &any) != nil {
			return
		}
		fields := schemaFields(any, nil, "settings")
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		values, problems := schemaValues(fields, form, nil)
		require.NotNil(t, values)
		require.NotNil(t, problems)
		require.NoError(t, SchemaForm(withProblems(fields, problems, form)).Render(t.Context(), new(bytes.Buffer)))
	})
}
