package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/expr-lang/expr/vm"
	"github.com/xrash/smetrics"
	"golang.org/x/text/unicode/norm"

	"github.com/provosthq/provost/host"
)

// Links are rules that find the user of an account, the surest first:
// "account.ExternalUsername = user.Username" where both sides are equal (a
// list on each side compares several attributes at once), or
// "account.ExternalUsername ~ user.Username >= 0.9" where they are alike. A
// rule of likeness never links: it names candidates.
type Links struct{ rules []link }

type link struct {
	text          string
	account, user *vm.Program
	fuzzy         bool
	least         float64
}

// leastScore is how alike two values must be where the rule does not say.
const leastScore = 0.88

var scoreOf = regexp.MustCompile(`^(.*)>=\s*([01]?\.?[0-9]+)\s*$`)

// CompileLinks compiles link rules. The error joins a *[RuleError] for each
// wrong one.
func CompileLinks(rules []string) (*Links, error) { return Tables(nil).CompileLinks(rules) }

// CompileLinks compiles link rules. The error joins a *[RuleError] for each
// wrong one.
func (t Tables) CompileLinks(rules []string) (*Links, error) {
	l := &Links{}
	var errs []error
	for i, text := range rules {
		rule, err := t.compileLink(text)
		if err != nil {
			errs = append(errs, &RuleError{i, text, err.Error()})
			continue
		}
		l.rules = append(l.rules, rule)
	}
	return l, errors.Join(errs...)
}

func (t Tables) compileLink(text string) (link, error) {
	rule := link{text: text, least: leastScore}
	left, right, ok := cutTilde(text)
	if rule.fuzzy = ok; ok {
		if m := scoreOf.FindStringSubmatch(right); m != nil {
			least, err := strconv.ParseFloat(m[2], 64)
			if err != nil || least <= 0 || least > 1 {
				return link{}, fmt.Errorf("the score %s is not above 0 and at most 1", m[2])
			}
			right, rule.least = strings.TrimSpace(m[1]), least
		}
	} else if left, right, ok = cut(text); !ok {
		return link{}, errors.New("is not of the form account expression = user expression, or account expression ~ user expression")
	}
	if strings.Contains(left, "user.") && strings.Contains(right, "account.") {
		left, right = right, left
	}
	var err error
	if rule.account, _, err = t.compile(left, "account"); err != nil {
		return link{}, err
	}
	rule.user, _, err = t.compile(right, "user")
	return rule, err
}

// cutTilde parts a rule at a ~ outside of quotes.
func cutTilde(text string) (left, right string, ok bool) {
	var quote rune
	escaped := false
	for i, r := range text {
		switch {
		case escaped:
			escaped = false
		case quote != 0 && r == '\\' && quote != '`':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'' || r == '`':
			quote = r
		case r == '~':
			left, right = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
			return left, right, left != "" && right != ""
		}
	}
	return "", "", false
}

// Len is the number of rules.
func (l *Links) Len() int { return len(l.rules) }

// Rule is the text of rule i.
func (l *Links) Rule(i int) string { return l.rules[i].text }

// Fuzzy tells whether rule i compares by likeness, so that it names candidates
// and never links.
func (l *Links) Fuzzy(i int) bool { return l.rules[i].fuzzy }

// UserKeys are what the rules make of a user. The error names rules that could
// not be worked out for this user; the keys of the others are there all the
// same.
func (l *Links) UserKeys(u *host.User) ([]host.UserKey, error) {
	var keys []host.UserKey
	var errs []error
	env := map[string]any{"user": userEnv(u)}
	for i, r := range l.rules {
		found, value, err := r.keys(r.user, env)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.text, err))
		}
		for _, key := range found {
			keys = append(keys, host.UserKey{Rule: i, Key: key, UserId: u.Id, Value: value})
		}
	}
	return keys, errors.Join(errs...)
}

// AccountKeys are what rule i makes of an account: a user who has one of the
// keys may be meant. The value is for [Links.Score].
func (l *Links) AccountKeys(i int, a *host.UserProvAccountStaging) (keys []string, value string, err error) {
	r := l.rules[i]
	return r.keys(r.account, accountEnv(a.ExternalUserId, a.ExternalUsername, a.ExternalFirstName, a.ExternalLastName, a.ExternalEmail, a.Status, a.Attributes))
}

// Score tells how alike the values of an account and a user are by rule i,
// from 0 to 1; 0 where they are not alike enough.
func (l *Links) Score(i int, account, user string) float64 {
	if account == "" || user == "" {
		return 0
	}
	score := max(likeWords(account, user), jaroWinkler(account, user))
	if score < l.rules[i].least {
		return 0
	}
	return min(score, 1)
}

func jaroWinkler(a, b string) float64 {
	const boost, prefix = 0.7, 4 // as the measure's author has them
	return smetrics.JaroWinkler(a, b, boost, prefix)
}

// likeWords is how alike the words of two values are, in whatever order: each
// word of the longer value is held against the one that it is most like, and
// counts by its letters.
func likeWords(a, b string) float64 {
	if len(b) > len(a) {
		a, b = b, a
	}
	others := strings.Fields(b)
	var sum, letters float64
	for _, word := range strings.Fields(a) {
		best := 0.0
		for _, other := range others {
			best = max(best, jaroWinkler(word, other))
		}
		sum, letters = sum+best*float64(len(word)), letters+float64(len(word))
	}
	return sum / letters
}

// keys works out one side of a rule. What is missing or says nothing has no
// key: two accounts without an e-mail have nothing in common.
func (r link) keys(p *vm.Program, env map[string]any) (keys []string, value string, err error) {
	v, err := evaluate(p, env)
	if err != nil {
		return nil, "", errors.New(oneLine(err))
	}
	parts, ok := texts(v)
	if !ok {
		return nil, "", nil
	}
	if r.fuzzy {
		value = likeness(parts)
		return blocks(value), value, nil
	}
	key := strings.Join(parts, "\x1f")
	if strings.IndexFunc(key, says) < 0 {
		return nil, "", nil
	}
	if len(key) > 400 { // an index has a bound for what it takes
		sum := sha256.Sum256([]byte(key))
		key = hex.EncodeToString(sum[:])
	}
	return []string{key}, "", nil
}

// texts are the parts of a key; ok is false where one is missing.
func texts(v any) (parts []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, false
	case []any:
		for _, one := range v {
			more, ok := texts(one)
			if !ok {
				return nil, false
			}
			parts = append(parts, more...)
		}
		return parts, len(parts) > 0
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}, true // not 1e+06
	default:
		text := strings.ReplaceAll(strings.ToValidUTF8(fmt.Sprint(v), ""), "\x00", "")
		return []string{text}, strings.TrimSpace(text) != ""
	}
}

func says(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// normalize makes of a text what is left of it where case, accents and
// punctuation don't count: "O’Brien, Müller" -> "o brien mueller".
func normalize(args ...any) (any, error) { return normal(args[0].(string)), nil }

func normal(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(special.Replace(norm.NFC.String(s))) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case says(r):
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(unicode.ToLower(r))
		default:
			gap = true
		}
	}
	return b.String()
}

// likeness is a value as it is compared: normalized, its words in the order of
// the alphabet, so that "Lovelace, Ada" is "ada.lovelace"; of an e-mail what
// stands before the @, since the rest is everybody's.
func likeness(parts []string) string {
	var words []string
	for _, p := range parts {
		if before, _, ok := strings.Cut(p, "@"); ok && before != "" {
			p = before
		}
		words = append(words, strings.Fields(normal(p))...)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// leastLetters is how many letters a value must have to be like another.
const leastLetters = 4

// mostWords is how many words of a value are keys.
const mostWords = 4

// blocks are the keys of which two values that are to be compared share one:
// how they begin, how they end, a whole word, and how the longest word sounds.
// Values that share none are not compared, so that the work is not every
// account times every user.
func blocks(value string) []string {
	words := strings.Fields(value)
	letters := []rune(strings.Join(words, ""))
	if len(letters) < leastLetters {
		return nil
	}
	const n = 5
	keys := []string{"^" + string(letters[:min(n, len(letters))]), "$" + string(letters[max(0, len(letters)-n):])}
	longest := words[0]
	for i, w := range words {
		if len(words) > 1 && i < mostWords && len(w) >= leastLetters {
			keys = append(keys, "="+w)
		}
		if len(w) > len(longest) {
			longest = w
		}
	}
	if strings.IndexFunc(longest, func(r rune) bool { return r < 'a' || r > 'z' }) < 0 {
		initials := ""
		for _, w := range words {
			if w != longest {
				initials += string([]rune(w)[:1])
			}
		}
		keys = append(keys, "~"+smetrics.Soundex(longest)+initials)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
