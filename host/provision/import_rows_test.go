package provision

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/testdata"
)

// FuzzImportedRows reads any file as each format: never a panic, and each
// refusal has a line that the file has.
func FuzzImportedRows(f *testing.F) {
	f.Add(testdata.People[:500])
	for _, s := range []string{
		"Username,Email\na,b\n", "Username\n\"a\n", "Username,Username\n1,2\n", "\xff\xfe", "Username\r\na\r\n", `[{"Username":"a"}]`, `{"Username":"a"}` + "\n" + `{"Username":`,
		`[{"Username":1},`, "[]", "{}", "\ufeffUsername\nx", `{"Username":"a","IsActive":"maybe"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, format := range []string{"csv", "json", "jsonl", ""} {
			lines := bytes.Count(file, []byte("\n")) + bytes.Count(file, []byte("\r")) + 2
			_ = eachRow(bytes.NewReader(file), ImportOptions{Format: format, Key: "Username"}, func(r row, _, message string) {
				require.NotEmpty(t, strings.TrimSpace(message))
				require.LessOrEqual(t, r.line, lines)
			}, func(r row) error {
				require.LessOrEqual(t, r.line, lines)
				return nil
			})
		}
	})
}
