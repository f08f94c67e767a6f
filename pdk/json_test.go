package pdk

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// examples are the contract's example documents.
func examples(t testing.TB) [][]byte {
	files, err := filepath.Glob("../testdata/contract/v1/examples/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var list [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		list = append(list, b)
	}
	return list
}

// same checks that the codec reads what encoding/json reads, and writes it in
// the same bytes.
func same[T any](t testing.TB, b []byte) {
	var want, got T
	wantErr := json.Unmarshal(b, &want)
	p := scanner{s: string(b)}
	if !any(&got).(interface{ readJSON(*scanner) bool }).readJSON(&p) || !p.end() {
		return // given up
	}
	require.NoError(t, wantErr, "%q is read, and encoding/json refuses it", b)
	require.Equal(t, want, got, "%q", b)
	wantBytes, err := json.Marshal(want)
	require.NoError(t, err)
	gotBytes, err := Marshal(got)
	require.NoError(t, err)
	require.Equal(t, string(wantBytes), string(gotBytes))
	_, ok := any(got).(document).appendJSON(nil)
	require.True(t, ok, "what was read can be written")
}

func sameDocuments(t testing.TB, b []byte) {
	same[Input](t, b)
	same[Output](t, b)
	same[Error](t, b)
	same[UserProvAccount](t, b)
	var want any
	wantErr := json.Unmarshal(b, &want)
	got, ok := plain(b)
	if !ok {
		return
	}
	require.NoError(t, wantErr, "%q is read, and encoding/json refuses it", b)
	require.True(t, reflect.DeepEqual(want, got), "%q: %#v, not %#v", b, got, want)
	wantBytes, err := json.Marshal(want)
	require.NoError(t, err)
	gotBytes, ok := appendValue(nil, got)
	require.True(t, ok)
	require.Equal(t, string(wantBytes), string(gotBytes))
}

func TestTheContractsExamplesAreReadAndWrittenByTheCodec(t *testing.T) {
	for _, b := range examples(t) {
		sameDocuments(t, b)
		_, ok := plain(b)
		require.True(t, ok, "%s", b)
	}
}

func TestTheCodecTakesPlainDocumentsAndGivesUpTheRest(t *testing.T) {
	read := func(s string) bool {
		var in Input
		p := scanner{s: s}
		return in.readJSON(&p) && p.end()
	}
	for _, s := range []string{
		`{"operation":"create"}`, ` {"operation" : "read" , "attempt":3,"User":null,"new":{"a":[1,{"b":null}]}} `,
		`{"attributes":{"a":"\u00e9\ud83d\ude00\n","b":[true,false,null,-1.5e3]},"changedAttributes":["a",null],"secrets":{"p":null}}`,
	} {
		require.True(t, read(s), s)
		sameDocuments(t, []byte(s))
	}
	for _, s := range []string{
		``, `null`, `[]`, `{"operation":1}`, `{"attempt":1.5}`, `{"Operation":"create"}`, `{"operation":"a","operation":"b"}`,
		`{"operation":"create"`, `{"operation":"create"}x`, `{"operation":"cre` + "\n" + `ate"}`, `{"attempt":01}`, `{"a":"\x"}`, `{"a":"\ud8"}`, `{"a":1.}`, `{"a":+1}`, `{"a":tru}`, `{"a":1,}`, `{,}`,
		`{"operatıon":"x"}`, `{"attempt":99999999999999999999}`, `{"a":1e999}`,
	} {
		require.False(t, read(s), s)
	}
}

func TestDeepDocumentsAreLeftToTheSlowWay(t *testing.T) {
	deep := append(bytes.Repeat([]byte("["), mostDepth+2), bytes.Repeat([]byte("]"), mostDepth+2)...)
	_, ok := plain(deep)
	require.False(t, ok)
	var v any
	require.NoError(t, Unmarshal(deep, &v))
	_, ok = appendValue(nil, v)
	require.False(t, ok)
	b, err := Marshal(v)
	require.NoError(t, err)
	require.Equal(t, deep, b)
}

func TestValuesAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Float64(), func(f float64) any { return f }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }), rapid.Map(rapid.Int(), func(i int) any { return i }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return string(b) }),
		rapid.Map(rapid.SliceOf(rapid.String()), func(s []string) any { return s }),
		rapid.Map(rapid.MapOf(rapid.String(), rapid.String()), func(m map[string]string) any { return m }),
		rapid.Map(rapid.Int64Range(-1<<53, 1<<53), func(n int64) any { return float64(n) / 8 }),
	)
	value := scalar
	for range 3 {
		inner := value
		value = rapid.OneOf(scalar, rapid.Map(rapid.SliceOf(inner), func(v []any) any { return v }),
			rapid.Map(rapid.MapOf(rapid.String(), inner), func(v map[string]any) any { return v }))
	}
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		want, wantErr := json.Marshal(v)
		got, ok := appendValue(nil, v)
		if ok {
			require.NoError(t, wantErr)
			require.Equal(t, string(want), string(got))
			return
		}
		_, err := Marshal(v)
		require.Equal(t, wantErr == nil, err == nil)
	})
}

// shouted is a map with an encoding of its own.
type shouted map[string]any

func (shouted) MarshalJSON() ([]byte, error) { return []byte(`"!"`), nil }

func TestTypesOfAConnectorsOwnAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	type own map[string]any
	for _, v := range []any{own{"b": own{"a": 1.5}, "a": []any{own(nil)}}, own(nil), shouted{"a": 1}, own{"x": shouted{}}, map[string]int{"a": 1}, []int{1}} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		got, err := Marshal(v)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	var m own
	require.NoError(t, Unmarshal([]byte(`{"a":[1]}`), &m))
	require.Equal(t, own{"a": []any{1.0}}, m)
}

func FuzzCodec(f *testing.F) {
	for _, b := range examples(f) {
		f.Add(b)
	}
	f.Add([]byte(`{"accounts":[{"ExternalUserId":"1","attributes":{"a":[1,2.5e-7,"\u2028<>&"]}},null],"totalEstimate":7}`))
	f.Fuzz(func(t *testing.T, b []byte) { sameDocuments(t, b) })
}

func BenchmarkCodec(b *testing.B) {
	doc := examples(b)[0]
	b.Run("codec", func(b *testing.B) {
		for b.Loop() {
			_, _ = plain(doc)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var v any
			_ = json.Unmarshal(doc, &v)
		}
	})
}
