package host_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func TestAnExportedLineIsCheckedWithoutUs(t *testing.T) {
	e := host.AuditEntry{Time: time.Date(2026, 3, 1, 0, 0, 0, 123456789, time.UTC), Actor: "u1", Action: host.AuditAccountLink, Object: host.AuditObject{Kind: "account", Name: "UPA-000001"},
		Outcome: host.AuditDone, Details: json.RawMessage(`{"b": 1, "a": "é<"}`)}
	text, err := host.AuditLink{}.Append(&e)
	require.NoError(t, err)
	line := host.AuditLine(text, e.Hash)
	require.True(t, json.Valid(line))
	whole, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, string(whole), string(line))
	cut, _, ok := strings.Cut(string(line), `,"hash":`)
	require.True(t, ok)
	sum := sha256.Sum256([]byte(cut + "}"))
	require.Equal(t, e.Hash, hex.EncodeToString(sum[:]))
}

func TestDetailsThatAreTooLongLeaveTheirDigest(t *testing.T) {
	e := host.AuditEntry{Action: "x.y", Details: json.RawMessage(`"` + strings.Repeat("x", 70_000) + `"`)}
	text, err := host.AuditLink{}.Append(&e)
	require.NoError(t, err)
	require.Less(t, len(text), 1000)
	require.Contains(t, string(text), `"tooLong":70002`)
}

func TestAPlaceInTheTrailIsRead(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for text, want := range map[string]host.AuditLink{hash: {Hash: hash}, " 42:" + strings.ToUpper(hash) + "\n": {Number: 42, Hash: hash}} {
		got, err := host.ParseAuditLink(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "42", "42:", ":" + hash, hash + "0", "-1:" + hash, "9999999999999999999:" + hash} {
		_, err := host.ParseAuditLink(text)
		require.Equal(t, host.InvalidInput, host.CodeOf(err), text)
	}
}

// Whatever stands in a line: what is taken has the hash that it says, and is the
// one that comes next.
func FuzzAuditLine(f *testing.F) {
	e := host.AuditEntry{Action: "x.y", Object: host.AuditObject{Kind: "k", Name: "n"}, Outcome: host.AuditDone}
	text, err := host.AuditLink{}.Append(&e)
	require.NoError(f, err)
	f.Add(host.AuditLine(text, e.Hash))
	f.Add([]byte(`{"number":1,"hash":"` + strings.Repeat("0", 64) + `"}`))
	f.Add([]byte(`,"hash":"` + strings.Repeat("f", 64) + `"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		text, hash, err := host.ParseAuditLine(line)
		if err != nil {
			return
		}
		require.True(t, bytes.Equal(line, host.AuditLine(text, hash)))
		got, at, err := host.AuditLink{}.Follow(text, hash)
		if err != nil {
			require.Positive(t, err.(*host.AuditBreak).Number)
			return
		}
		sum := sha256.Sum256(text)
		require.Equal(t, hash, hex.EncodeToString(sum[:]))
		require.Equal(t, host.AuditLink{Number: 1, Hash: hash}, at)
		require.EqualValues(t, 1, got.Number)
	})
}
