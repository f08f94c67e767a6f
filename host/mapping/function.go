package mapping

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
	"github.com/expr-lang/expr/vm/runtime"

	"github.com/provosthq/provost/pdk"
)

// What an expression may use. A rule is an administrator's, but the text that
// it works on is anybody's.
const (
	mostNodes  = 1000    // of the expression
	mostMemory = 100_000 // elements that the machine holds
	longest    = 64 << 10
)

var errTooLong = fmt.Errorf("makes more than %d KiB of text", longest>>10)

// functions are what expressions may call, for hints; expr has more.
var functions = []string{"lower", "upper", "trim", "replace", "split", "join", "first", "last", "substring", "ascii", "normalize", "formatDate", "lookup", "attribute",
	"unique", "randomPassword", "repeat", "len", "string", "int", "hasPrefix", "hasSuffix", "indexOf"}

// library are our functions. Those that expr has too are bounded here, or do
// what administrators expect of them.
func library(t Tables) []expr.Option {
	type (
		textList = func(any, string) string
		one      = func(any) any
	)
	return []expr.Option{
		expr.Function("substring", substring, new(func(string, int) string), new(func(string, int, int) string)),
		expr.Function("ascii", ascii, new(func(string) string)),
		expr.Function("normalize", normalize, new(func(string) string)),
		expr.Function("formatDate", formatDate, new(func(any, string) string)),
		expr.Function("lookup", t.lookup, new(func(string, any) any), new(func(string, any, any) any)),
		expr.Function("first", first, new(one), new(func(string, int) string)),
		expr.Function("last", last, new(one), new(func(string, int) string)),
		expr.Function("replace", replace, new(func(string, string, string) string), new(func(string, string, string, int) string)),
		expr.Function("join", join, new(func(any) string), new(textList)),
		expr.Function("string", text, new(func(any) string)),
		expr.Function("repeat", repeat, new(func(string, int) string)),
		expr.Function("attribute", attribute, new(func(any, string) any)),
		expr.Function("unique", unique, new(func(string) map[string]any), new(func(string, string) map[string]any)),
		expr.Function("randomPassword", randomPassword, new(func() string), new(func(int) string)),
		expr.Function(plusName, plus, new(func(any, any) any)),
		expr.Function(otherwiseName, otherwise, new(func(any, any) any)),
		expr.MaxNodes(mostNodes),
	}
}

// The operators + and ?? are functions of ours: text has an end, and an empty
// text is nothing.
const (
	plusName      = "__plus"
	otherwiseName = "__otherwise"
)

type operators struct{}

func (operators) Visit(node *ast.Node) {
	b, ok := (*node).(*ast.BinaryNode)
	if !ok {
		return
	}
	name := ""
	switch b.Operator {
	case "+":
		name = plusName
	case "??":
		name = otherwiseName
	default:
		return
	}
	ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: []ast.Node{b.Left, b.Right}})
}

func plus(args ...any) (any, error) {
	a, aText := args[0].(string)
	b, bText := args[1].(string)
	switch {
	case aText && bText:
		return bounded(len(a)+len(b), func() string { return a + b })
	case aText && args[1] == nil: // a user need not have everything
		return a, nil
	case bText && args[0] == nil:
		return b, nil
	case aText || bText:
		return nil, fmt.Errorf("can't add %s and %s; write string(…)", kindOf(args[0]), kindOf(args[1]))
	}
	return runtime.Add(args[0], args[1]), nil
}

func kindOf(v any) string {
	if v == nil {
		return "nothing"
	}
	switch reflect.TypeOf(v).Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a number"
}

func otherwise(args ...any) (any, error) {
	if args[0] == nil || args[0] == "" {
		return args[1], nil
	}
	return args[0], nil
}

func bounded(size int, make func() string) (any, error) {
	if size > longest || size < 0 {
		return nil, errTooLong
	}
	return make(), nil
}

// evaluate runs an expression. What comes of it is as JSON has it, so that
// what was stored or a target's answer can be compared with it.
func evaluate(p *vm.Program, env map[string]any) (any, error) {
	machine := vm.VM{MemoryBudget: mostMemory}
	v, err := machine.Run(p, env)
	if err != nil {
		return nil, err
	}
	room := longest
	return plain(v, &room)
}

func plain(v any, room *int) (any, error) {
	if *room -= 8; *room < 0 {
		return nil, errTooLong
	}
	switch x := v.(type) {
	case nil, bool:
		return x, nil
	case string:
		if *room -= len(x); *room < 0 {
			return nil, errTooLong
		}
		return strings.ToValidUTF8(x, ""), nil // half a letter that a slice left
	case time.Time:
		return x.Format(time.RFC3339), nil
	case fmt.Stringer:
		return x.String(), nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(r.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return float64(r.Uint()), nil
	case reflect.Float32, reflect.Float64:
		if f := r.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errors.New("is no number: something is divided by nothing")
		}
		return r.Float(), nil
	case reflect.String:
		return plain(r.String(), room)
	case reflect.Slice, reflect.Array:
		list := make([]any, 0, min(r.Len(), longest/8))
		for i := range r.Len() {
			e, err := plain(r.Index(i).Interface(), room)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		return list, nil
	case reflect.Map:
		object := map[string]any{}
		for _, k := range r.MapKeys() {
			e, err := plain(r.MapIndex(k).Interface(), room)
			if err != nil {
				return nil, err
			}
			name := fmt.Sprint(k.Interface())
			*room -= len(name)
			object[strings.ToValidUTF8(name, "")] = e
		}
		return object, nil
	}
	return nil, fmt.Errorf("ends in a %s, which no target knows", r.Type())
}

// substring is the letters from one to another, or to the end.
func substring(args ...any) (any, error) {
	s := []rune(args[0].(string))
	from, to := args[1].(int), len(s)
	if len(args) > 2 {
		to = args[2].(int)
	}
	from = min(max(0, from), len(s))
	return string(s[from:min(max(from, to), len(s))]), nil
}

// ascii writes a name in ASCII: Jürgen O’Brien -> Juergen O'Brien. What has no
// ASCII form is dropped.
func ascii(args ...any) (any, error) {
	s := args[0].(string)
	if len(s) > longest {
		return nil, errTooLong
	}
	return transliterate(s), nil
}

// first is the first element of a list, or the first letters of a text; last
// the last.
func first(args ...any) (any, error) {
	return end(args, func(s []rune, n int) []rune { return s[:n] }, func(int) int { return 0 })
}

func last(args ...any) (any, error) {
	return end(args, func(s []rune, n int) []rune { return s[len(s)-n:] }, func(size int) int { return size - 1 })
}

func end(args []any, letters func([]rune, int) []rune, index func(int) int) (any, error) {
	if args[0] == nil {
		return nil, nil
	}
	if s, ok := args[0].(string); ok {
		n := 1
		if len(args) > 1 {
			n = args[1].(int)
		}
		runes := []rune(s)
		return string(letters(runes, min(max(0, n), len(runes)))), nil
	}
	r := reflect.ValueOf(args[0])
	if k := r.Kind(); k != reflect.Slice && k != reflect.Array {
		return nil, fmt.Errorf("is for a list or a text, not for %s", kindOf(args[0]))
	}
	if r.Len() == 0 {
		return nil, nil
	}
	return r.Index(index(r.Len())).Interface(), nil
}

// attribute is what an account has at a path such as emails[work].value;
// nothing where there is none.
func attribute(args ...any) (any, error) {
	path := args[1].(string)
	if !pdk.ValidPath(path) {
		return nil, fmt.Errorf("%q is no path such as emails[work].value", clip(path))
	}
	object, _ := args[0].(map[string]any)
	if inner, ok := object["attributes"].(map[string]any); ok {
		object = inner
	}
	v, _ := pdk.GetPath(object, path)
	return v, nil
}

func replace(args ...any) (any, error) {
	s, old, with, n := args[0].(string), args[1].(string), args[2].(string), -1
	if len(args) > 3 {
		n = args[3].(int)
	}
	found := strings.Count(s, old)
	if n >= 0 {
		found = min(found, n)
	}
	if len(with) > longest {
		return nil, errTooLong
	}
	return bounded(len(s)+found*(len(with)-len(old)), func() string { return strings.Replace(s, old, with, n) })
}

// join writes the elements of a list with a text between them; those that are
// nothing are left out.
func join(args ...any) (any, error) {
	glue := ""
	if len(args) > 1 {
		glue = args[1].(string)
	}
	r := reflect.ValueOf(args[0])
	if args[0] == nil {
		return "", nil
	}
	if k := r.Kind(); k != reflect.Slice && k != reflect.Array {
		return nil, fmt.Errorf("is for a list, not for %s", kindOf(args[0]))
	}
	var parts []string
	size := 0
	for i := range r.Len() {
		e := r.Index(i).Interface()
		if e == nil || e == "" {
			continue
		}
		part := textOf(e)
		if size += len(part) + len(glue); size > longest+len(glue) {
			return nil, errTooLong
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, glue), nil
}

func text(args ...any) (any, error) {
	room := longest
	v, err := plain(args[0], &room)
	return textOf(v), err
}

// textOf writes a value as a target would: a number in digits, nothing as "".
func textOf(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func repeat(args ...any) (any, error) {
	s, n := args[0].(string), args[1].(int)
	if n < 0 || n > longest {
		return nil, fmt.Errorf("can't repeat a text %d times", n)
	}
	return bounded(len(s)*n, func() string { return strings.Repeat(s, n) })
}

// dates are the forms in which a date is understood.
var dates = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", "20060102"}

// formatDate writes a date by a pattern such as dd.MM.yyyy; nothing stays
// nothing.
func formatDate(args ...any) (any, error) {
	layout, err := layoutOf(args[1].(string))
	if err != nil {
		return nil, err
	}
	switch v := args[0].(type) {
	case nil:
		return "", nil
	case time.Time:
		return v.Format(layout), nil
	case *time.Time:
		if v == nil {
			return "", nil
		}
		return v.Format(layout), nil
	case string:
		v = strings.TrimSpace(v)
		if v == "" {
			return "", nil
		}
		for _, form := range dates {
			if at, err := time.Parse(form, v); err == nil {
				return at.Format(layout), nil
			}
		}
		return nil, fmt.Errorf("%q is no date such as 2026-01-31 or 2026-01-31T08:30:00Z", clip(v))
	default:
		return nil, fmt.Errorf("%s is no date", kindOf(v))
	}
}

func clip(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}

// layoutOf writes a pattern as Go has it. Letters between ' are themselves.
func layoutOf(pattern string) (string, error) {
	forms := map[string]string{"yyyy": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "dd": "02", "d": "2", "EEEE": "Monday", "EEE": "Mon",
		"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5", "SSS": "000", "a": "PM", "XXX": "Z07:00"}
	var b strings.Builder
	literal := func(s string) error {
		// Go's layouts have no quotes: what it would take for a date can't be literal.
		if at := time.Date(1987, 6, 25, 9, 8, 7, 6, time.FixedZone("", -3600)); at.Format(s) != s {
			return fmt.Errorf("the pattern %q has %q, which can't stand in it", pattern, s)
		}
		b.WriteString(s)
		return nil
	}
	for rest := pattern; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == '\'':
			if strings.HasPrefix(rest, "''") { // two stand for one, in quotes and out of them
				b.WriteString("'")
				rest = rest[2:]
				continue
			}
			text, after, ok := strings.Cut(rest[1:], "'")
			for more := ""; ok && strings.HasPrefix(after, "'"); text += "'" + more {
				more, after, ok = strings.Cut(after[1:], "'")
			}
			if !ok {
				return "", fmt.Errorf("the pattern %q has one ' without another", pattern)
			}
			if err := literal(text); err != nil {
				return "", err
			}
			rest = after
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			n := 0
			for n < len(rest) && rest[n] == rest[0] {
				n++
			}
			form, ok := forms[rest[:n]]
			if !ok {
				return "", fmt.Errorf("the pattern %q has %q; there is yyyy, yy, MMMM, MMM, MM, M, dd, d, EEEE, EEE, HH, hh, h, mm, m, ss, s, SSS, a and XXX, and 'text'", pattern, rest[:n])
			}
			if form == "000" && !strings.HasSuffix(b.String(), ".") {
				return "", fmt.Errorf("in the pattern %q a point must stand before SSS", pattern)
			}
			b.WriteString(form)
			rest = rest[n:]
		default:
			if r >= '0' && r <= '9' || r == '_' {
				return "", fmt.Errorf("the pattern %q has %q, which can't stand in it", pattern, string(r))
			}
			b.WriteString(rest[:size])
			rest = rest[size:]
		}
	}
	return b.String(), nil
}

// Tables are what lookup looks up, by name.
type Tables map[string]map[string]any

func (t Tables) lookup(args ...any) (any, error) {
	if args[1] != nil {
		if v, ok := t[args[0].(string)][textOf(args[1])]; ok {
			return v, nil
		}
	}
	if len(args) > 2 {
		return args[2], nil
	}
	return nil, nil
}

// calls looks at what an expression calls: what can be told before it runs is.
type calls struct {
	tables Tables
	// unique, password and now are how often each is called.
	unique, password, now int
	err                   error
}

func (c *calls) Visit(node *ast.Node) {
	name, args := "", []ast.Node(nil)
	switch n := (*node).(type) {
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			name, args = id.Value, n.Arguments
		}
	case *ast.BuiltinNode:
		name, args = n.Name, n.Arguments
	}
	switch name {
	case "unique":
		c.unique++
	case "randomPassword":
		c.password++
		if len(args) == 1 {
			if n, ok := args[0].(*ast.IntegerNode); ok && c.err == nil {
				c.err = passwordLength(n.Value)
			}
		}
	case "now":
		c.now++
	case "lookup":
		if len(args) == 0 || c.err != nil {
			return
		}
		table, ok := args[0].(*ast.StringNode)
		switch {
		case !ok:
			c.err = errors.New(`lookup needs the name of a table first: lookup("costCenters", user.Department)`)
		case c.tables[table.Value] == nil:
			names := make([]string, 0, len(c.tables))
			for name := range c.tables {
				names = append(names, name)
			}
			slices.Sort(names)
			hint := "; tables has none"
			if near := nearest(table.Value, names); near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			} else if len(names) > 0 {
				hint = "; there is " + strings.Join(names, ", ")
			}
			c.err = fmt.Errorf("there is no table %q%s", table.Value, hint)
		}
	case "formatDate":
		if len(args) == 2 && c.err == nil {
			if pattern, ok := args[1].(*ast.StringNode); ok {
				_, c.err = layoutOf(pattern.Value)
			}
		}
	}
}
