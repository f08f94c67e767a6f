package pdk

import (
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// The codec of the contract's documents. In WebAssembly encoding/json was most
// of what a call cost; this does the same for the documents' types, which
// codec_gen.go has. It takes what is plain and leaves the rest to
// encoding/json: where it gives up (ok is false), the document is read or
// written again the slow way, which also makes every error message.

// mostDepth is how deep a document may be nested; encoding/json takes 10,000.
const mostDepth = 1000

// scanner reads JSON. Strings that it returns are parts of the document where
// they have no escapes.
type scanner struct {
	s     string
	i     int
	depth int
}

// space skips white space and returns the next byte, 0 at the end.
func (p *scanner) space() byte {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

// take skips c, after white space.
func (p *scanner) take(c byte) bool {
	if p.space() != c {
		return false
	}
	p.i++
	return true
}

// null takes a null if there is one.
func (p *scanner) null() bool {
	if p.space() != 'n' || !strings.HasPrefix(p.s[p.i:], "null") {
		return false
	}
	p.i += 4
	return true
}

// end tells whether only white space is left.
func (p *scanner) end() bool { return p.space() == 0 && p.i == len(p.s) }

func (p *scanner) str() (string, bool) {
	if p.space() != '"' {
		return "", false
	}
	start := p.i + 1
	rest := p.s[start:]
	for i := plainRun(rest, 0, false); i < len(rest); i++ {
		if c := rest[i]; stops[c] == 1 {
			switch {
			case c == '"':
				p.i = start + i + 1
				return rest[:i], true
			case c < ' ':
				return "", false
			}
			return p.escaped(start, start+i)
		}
	}
	return "", false
}

// plainRun returns how far a string from i is plain, in steps of eight bytes:
// in WebAssembly each byte alone costs many times as much. With html, what
// encoding/json escapes for HTML is not plain.
func plainRun(s string, i int, html bool) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	first := unsafe.Pointer(unsafe.StringData(s))
	for ; i+8 <= len(s); i += 8 {
		// Any order of the bytes will do.
		w := *(*uint64)(unsafe.Add(first, i))
		quote, slash := w^ones*'"', w^ones*'\\'
		odd := w | (w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash
		if html {
			less, more, and := w^ones*'<', w^ones*'>', w^ones*'&'
			odd |= (less-ones)&^less | (more-ones)&^more | (and-ones)&^and
		}
		if odd&tops != 0 {
			break
		}
	}
	return i
}

// stops are the bytes that a plain string does not have: 1 those that end one
// or need a look when it is read, 2 those that are only written in another way.
var stops = func() (t [256]byte) {
	for c := range t {
		switch {
		case c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf:
			t[c] = 1
		case c == '<' || c == '>' || c == '&':
			t[c] = 2
		}
	}
	return t
}()

// escaped reads a string that begins at start and is plain up to i.
func (p *scanner) escaped(start, i int) (string, bool) {
	var b []byte
	from := start // what is not yet in b
	for i < len(p.s) {
		c := p.s[i]
		switch {
		case c == '"':
			p.i = i + 1
			if b == nil {
				return p.s[start:i], true
			}
			return string(append(b, p.s[from:i]...)), true
		case c < ' ':
			return "", false
		case c == '\\':
			if i+1 >= len(p.s) {
				return "", false
			}
			b = append(b, p.s[from:i]...)
			i += 2
			switch e := p.s[i-1]; e {
			case '"', '\\', '/':
				b = append(b, e)
			case 'b':
				b = append(b, '\b')
			case 'f':
				b = append(b, '\f')
			case 'n':
				b = append(b, '\n')
			case 'r':
				b = append(b, '\r')
			case 't':
				b = append(b, '\t')
			case 'u':
				r, ok := p.hex(i)
				if !ok {
					return "", false
				}
				i += 4
				if utf16.IsSurrogate(r) {
					low := rune(-1)
					if strings.HasPrefix(p.s[i:], `\u`) {
						low, _ = p.hex(i + 2)
					}
					if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
						r = both
						i += 6
					} else {
						r = utf8.RuneError
					}
				}
				b = utf8.AppendRune(b, r)
			default:
				return "", false
			}
			from = i
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRuneInString(p.s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, p.s[from:i]...)
				b = utf8.AppendRune(b, utf8.RuneError)
				from = i + 1
			}
			i += n
		}
	}
	return "", false
}

// hex reads the four digits of an escape; -1 and false where they are not.
func (p *scanner) hex(i int) (rune, bool) {
	if i+4 > len(p.s) {
		return -1, false
	}
	var r rune
	for _, c := range []byte(p.s[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1, false
		}
	}
	return r, true
}

// number returns the text of a number.
func (p *scanner) number() (string, bool) {
	p.space()
	start := p.i
	at := func(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }
	digits := func() bool {
		from := p.i
		for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
			p.i++
		}
		return p.i > from
	}
	if at('-') {
		p.i++
	}
	if at('0') {
		p.i++
	} else if !digits() {
		return "", false
	}
	if at('.') {
		p.i++
		if !digits() {
			return "", false
		}
	}
	if at('e') || at('E') {
		p.i++
		if at('+') || at('-') {
			p.i++
		}
		if !digits() {
			return "", false
		}
	}
	return p.s[start:p.i], true
}

func (p *scanner) float() (float64, bool) {
	text, ok := p.number()
	if !ok {
		return 0, false
	}
	if len(text) < 16 { // a whole number that a float64 holds
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && (n != 0 || text == "0") {
			return float64(n), true
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func (p *scanner) integer(bits int) (int64, bool) {
	text, ok := p.number()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, bits)
	return n, err == nil
}

func (p *scanner) bool() (v, ok bool) {
	p.space()
	switch rest := p.s[p.i:]; {
	case strings.HasPrefix(rest, "true"):
		p.i += 4
		return true, true
	case strings.HasPrefix(rest, "false"):
		p.i += 5
		return false, true
	}
	return false, false
}

// object reads an object; member reads the value of each key.
func (p *scanner) object(member func(key string) bool) bool {
	if !p.take('{') {
		return false
	}
	if p.depth++; p.depth > mostDepth {
		return false
	}
	if p.take('}') {
		p.depth--
		return true
	}
	for {
		key, ok := p.str()
		if !ok || !p.take(':') || !member(key) {
			return false
		}
		switch p.space() {
		case ',':
			p.i++
		case '}':
			p.i++
			p.depth--
			return true
		default:
			return false
		}
	}
}

// list reads a list; element reads each.
func (p *scanner) list(element func() bool) bool {
	if !p.take('[') {
		return false
	}
	if p.depth++; p.depth > mostDepth {
		return false
	}
	if p.take(']') {
		p.depth--
		return true
	}
	for {
		if !element() {
			return false
		}
		switch p.space() {
		case ',':
			p.i++
		case ']':
			p.i++
			p.depth--
			return true
		default:
			return false
		}
	}
}

// value reads any value, into what encoding/json makes of it.
func (p *scanner) value() (any, bool) {
	switch c := p.space(); c {
	case '{':
		return p.attributes()
	case '[':
		list := []any{}
		ok := p.list(func() bool {
			v, ok := p.value()
			list = append(list, v)
			return ok
		})
		return list, ok
	case '"':
		return p.str()
	case 't', 'f':
		return p.bool()
	case 'n':
		return nil, p.null()
	default:
		return p.float()
	}
}

// attributes reads an object of any values.
func (p *scanner) attributes() (map[string]any, bool) {
	m := make(map[string]any, 8)
	ok := p.object(func(key string) bool {
		v, ok := p.value()
		m[key] = v
		return ok
	})
	return m, ok
}

func (p *scanner) texts() (map[string]string, bool) {
	m := map[string]string{}
	ok := p.object(func(key string) bool {
		if p.null() {
			m[key] = ""
			return true
		}
		v, ok := p.str()
		m[key] = v
		return ok
	})
	return m, ok
}

func words[T ~string](p *scanner) ([]T, bool) {
	list := []T{}
	ok := p.list(func() bool {
		if p.null() {
			list = append(list, "")
			return true
		}
		v, ok := p.str()
		list = append(list, T(v))
		return ok
	})
	return list, ok
}

// unknown skips the value of a key that a document does not have. One that
// encoding/json would take for a known one, in other letters, is given up.
func (p *scanner) unknown(key string, known []string) bool {
	for _, k := range known {
		if len(k) == len(key) && strings.EqualFold(k, key) {
			return false
		}
	}
	for i := range len(key) {
		if key[i] >= utf8.RuneSelf { // folds in ways of its own
			return false
		}
	}
	_, ok := p.value()
	return ok
}

// plain parses a whole document into what encoding/json would make of it.
func plain(b []byte) (any, bool) {
	p := scanner{s: string(b)}
	v, ok := p.value()
	return v, ok && p.end()
}

// appendString writes a string as encoding/json does.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := plainRun(s, 0, true); i < len(s); {
		c := s[i]
		if stops[c] == 0 {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				b = append(append(b, s[from:i]...), `\ufffd`...)
				from = i + n
			case r == '\u2028' || r == '\u2029':
				b = append(append(b, s[from:i]...), `\u202`...)
				b = append(b, hexDigits[r&0xf])
				from = i + n
			}
			i += n
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

const hexDigits = "0123456789abcdef"

// appendFloat writes a number as encoding/json does (ES6).
func appendFloat(b []byte, f float64) ([]byte, bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return b, false
	}
	if n := int64(f); float64(n) == f && n > -1e15 && n < 1e15 && (n != 0 || !math.Signbit(f)) {
		return strconv.AppendInt(b, n, 10), true
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if n := len(b); format == 'e' && n >= 4 && b[n-4] == 'e' && (b[n-3] == '-' || b[n-3] == '+') && b[n-2] == '0' {
		b[n-2] = b[n-1] // e-09 is e-9
		b = b[:n-1]
	}
	return b, true
}

// appendValue writes a value of the kinds that JSON is read into. Others are
// given up.
func appendValue(b []byte, v any) ([]byte, bool) { return appendNested(b, v, 0) }

func appendNested(b []byte, v any, depth int) ([]byte, bool) {
	if depth > mostDepth {
		return b, false
	}
	ok := true
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case string:
		return appendString(b, v), true
	case bool:
		return strconv.AppendBool(b, v), true
	case float64:
		return appendFloat(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10), true
	case int64:
		return strconv.AppendInt(b, v, 10), true
	case map[string]any:
		return appendObject(b, v, depth)
	case []any:
		if v == nil {
			return append(b, "null"...), true
		}
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, ok = appendNested(b, e, depth+1); !ok {
				return b, false
			}
		}
		return append(b, ']'), true
	case []map[string]any:
		if v == nil {
			return append(b, "null"...), true
		}
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, ok = appendObject(b, e, depth+1); !ok {
				return b, false
			}
		}
		return append(b, ']'), true
	case map[string]string:
		if v == nil {
			return append(b, "null"...), true
		}
		return appendTexts(b, v), true
	case []string:
		if v == nil {
			return append(b, "null"...), true
		}
		return appendWords(b, v), true
	case json.Marshaler, encoding.TextMarshaler:
		return b, false
	}
	if m := reflect.ValueOf(v); m.Type().ConvertibleTo(typeAttributes) { // a type of the connector's own
		return appendObject(b, m.Convert(typeAttributes).Interface().(map[string]any), depth)
	}
	return b, false
}

func appendObject(b []byte, m map[string]any, depth int) ([]byte, bool) {
	if m == nil {
		return append(b, "null"...), true
	}
	b = append(b, '{')
	ok := true
	for i, k := range keysOf(m) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		if b, ok = appendNested(b, m[k], depth+1); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

func appendTexts(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, k := range keysOf(m) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, k), ':'), m[k])
	}
	return append(b, '}')
}

func appendWords[T ~string](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(s))
	}
	return append(b, ']')
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// document is a type that codec_gen.go has the codec of.
type document interface {
	// appendJSON gives up where ok is false.
	appendJSON(b []byte) (_ []byte, ok bool)
}

// Marshal is json.Marshal, fast for the contract's documents and for values of
// the kinds that JSON is read into.
func Marshal(v any) ([]byte, error) {
	b := make([]byte, 0, 1024)
	ok := false
	if d, is := v.(document); is {
		b, ok = d.appendJSON(b)
	} else {
		b, ok = appendValue(b, v)
	}
	if ok {
		return b, nil
	}
	return json.Marshal(v)
}

// Unmarshal is json.Unmarshal, fast into a *any and into a pointer to a type
// whose underlying type is map[string]any.
func Unmarshal(b []byte, v any) error {
	if m, ok := v.(*map[string]any); ok && *m == nil { // without reflection
		if parsed, ok := plain(b); ok {
			if parsed, ok := parsed.(map[string]any); ok {
				*m = parsed
				return nil
			}
		}
		return json.Unmarshal(b, v)
	}
	to := reflect.ValueOf(v)
	if to.Kind() != reflect.Pointer || to.IsNil() || !to.Elem().IsZero() {
		return json.Unmarshal(b, v)
	}
	to = to.Elem()
	if t := to.Type(); t != typeAny && !typeAttributes.ConvertibleTo(t) {
		return json.Unmarshal(b, v)
	}
	if parsed, ok := plain(b); ok {
		if to.Type() == typeAny {
			if parsed != nil {
				to.Set(reflect.ValueOf(parsed))
			}
			return nil
		}
		if m, ok := parsed.(map[string]any); ok {
			to.Set(reflect.ValueOf(m).Convert(to.Type()))
			return nil
		}
	}
	return json.Unmarshal(b, v)
}

var (
	typeAny        = reflect.TypeFor[any]()
	typeAttributes = reflect.TypeFor[map[string]any]()
)
