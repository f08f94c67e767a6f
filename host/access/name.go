package access

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/provosthq/provost/host"
)

// longestName is in characters.
const longestName = 100

// NameKey is what names of local administrators are told apart by: neither case
// nor the way in which letters are written makes another.
func NameKey(name string) string {
	return strings.ToLower(norm.NFKC.String(strings.TrimSpace(name)))
}

// usernameKey is what the store tells usernames apart by. (EqualFold takes more
// letters for one.)
func usernameKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// checkedName is the name that an administrator or a token gets. One that people
// would take for another's is refused.
func checkedName(name string) (string, error) {
	name = norm.NFC.String(strings.TrimSpace(name))
	wrong := ""
	switch {
	case name == "" || utf8.RuneCountInString(name) > longestName || strings.ContainsAny(name, "()") || !utf8.ValidString(name):
		wrong = fmt.Sprintf("the name must have 1 to %d characters, and no brackets", longestName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		wrong = "the name has a character that can't be seen"
	case mixesScripts(name):
		wrong = "the name has letters of several alphabets that look alike"
	default:
		return name, nil
	}
	return "", &host.Error{Code: host.InvalidInput, Field: "name", Message: wrong}
}

// alike are alphabets with letters that look like those of another.
var alike = []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu}

// mixesScripts tells whether a name has letters of several of alike.
func mixesScripts(name string) bool {
	found := 0
	for _, table := range alike {
		if strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(table, r) }) {
			found++
		}
	}
	return found > 1
}
