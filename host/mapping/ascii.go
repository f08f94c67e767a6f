package mapping

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var special = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue", "ß", "ss", "ø", "o", "Ø", "O",
	"æ", "ae", "Æ", "Ae", "å", "a", "Å", "A", "ł", "l", "Ł", "L", "đ", "d", "Đ", "D", "ı", "i", "’", "'", "‘", "'", "–", "-", "œ", "oe", "þ", "th", "ð", "d")

func transliterate(s string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(special.Replace(norm.NFC.String(s))) {
		if r < unicode.MaxASCII {
			b.WriteRune(r)
		}
	}
	return b.String()
}
