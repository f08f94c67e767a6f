package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder fills a Config from nodes, so that names keep their case and every
// problem has its line.
type decoder struct {
	cfg      *Config
	file     string
	problems []Problem
	// single has the scalar values of the files for viper, nested by key.
	single map[string]any
	budget int
	known  map[*yaml.Node][]pair
}

func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.file, Line: n.Line, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) place(key string, n *yaml.Node) {
	if _, ok := d.cfg.at[key]; !ok {
		d.cfg.at[key] = position{d.file, n.Line}
	}
}

func fields(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
		name := f.Tag.Get("yaml")
		return name == "" || name == "-"
	})
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

func resolve(n *yaml.Node) *yaml.Node {
	for range 100 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

type pair struct{ key, value *yaml.Node }

// pairs lists what a mapping has, with what it merges (<<) at the end. Each node
// is worked out once, so that merges of merges can neither multiply nor circle.
func (d *decoder) pairs(n *yaml.Node) []pair {
	if known, ok := d.known[n]; ok {
		return known
	}
	d.known[n] = nil
	var own, merged []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], resolve(n.Content[i+1])
		if k.Tag != "!!merge" {
			own = append(own, pair{k, v})
			continue
		}
		for _, m := range append([]*yaml.Node{v}, v.Content...) {
			if m = resolve(m); m.Kind == yaml.MappingNode && (m == v || v.Kind == yaml.SequenceNode) {
				merged = append(merged, d.pairs(m)...)
			}
		}
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(p pair) bool { return p.key.Value == m.key.Value }) {
			own = append(own, m)
		}
	}
	d.known[n] = own
	return own
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// object fills a struct and the defaults of an entry.
func (d *decoder) object(n *yaml.Node, v reflect.Value, key string) {
	n = resolve(n)
	if isNull(n) && key == "" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, key, "must have keys and values, not %s", shape(n))
		return
	}
	known := fields(v.Type())
	seen := map[string]int{}
	for _, p := range d.pairs(n) {
		name := p.key.Value
		if line, twice := seen[name]; twice {
			d.fail(p.key, join(key, name), "is there twice; the first is in line %d", line)
			continue
		}
		seen[name] = p.key.Line
		i := slices.IndexFunc(known, func(f reflect.StructField) bool { return f.Tag.Get("yaml") == name })
		if i < 0 {
			names := make([]string, len(known))
			for i, f := range known {
				names[i] = f.Tag.Get("yaml")
			}
			hint := suggest(name, names)
			if hint == "" {
				hint = "; known are " + strings.Join(names, ", ")
			}
			d.fail(p.key, join(key, name), "unknown key%s", hint)
			continue
		}
		if isNull(p.value) {
			delete(seen, name) // as if it were not there
			continue
		}
		d.value(p.key, p.value, v.FieldByIndex(known[i].Index), known[i], join(key, name))
	}
	d.complete(n, v, key, seen)
}

// complete reports what must be there, and fills in the defaults of an entry of
// a list; those of single values are viper's.
func (d *decoder) complete(n *yaml.Node, v reflect.Value, key string, seen map[string]int) {
	for _, f := range fields(v.Type()) {
		name := f.Tag.Get("yaml")
		if _, ok := seen[name]; ok {
			continue
		}
		value := v.FieldByIndex(f.Index)
		switch fallback := f.Tag.Get("default"); {
		case f.Tag.Get("required") != "":
			d.fail(n, join(key, name), "is missing")
		case key == "" || !d.inEntry(key):
		case value.Kind() == reflect.Struct:
			d.complete(n, value, join(key, name), nil)
		case fallback != "" && value.Kind() == reflect.Slice:
			value.Set(reflect.ValueOf(strings.Split(fallback, ",")))
		case fallback != "":
			d.scalar(&yaml.Node{Kind: yaml.ScalarNode, Value: fallback}, value, f, join(key, name))
		}
	}
}

func (d *decoder) inEntry(key string) bool {
	first, _, _ := strings.Cut(key, ".")
	first, _, _ = strings.Cut(first, "[")
	for _, list := range []string{"log.connectors", "tracing.headers"} {
		if strings.HasPrefix(key, list+".") || strings.HasPrefix(key, list+"[") {
			return true
		}
	}
	return slices.Contains([]string{"signers", "plugins", "credentials", "apps", "groups", "tables", "notify"}, first)
}

func (d *decoder) value(k, n *yaml.Node, v reflect.Value, f reflect.StructField, key string) {
	switch {
	case v.Kind() == reflect.Struct:
		d.place(key, k)
		d.object(n, v, key)
	case v.Kind() == reflect.Pointer:
		d.place(key, k)
		v.Set(reflect.New(v.Type().Elem()))
		d.object(n, v.Elem(), key)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		d.place(key, k)
		d.entries(n, v, key)
	case v.Kind() == reflect.Slice:
		d.texts(k, n, v, f, key)
	case v.Kind() == reflect.Map:
		d.place(key, k)
		d.free(n, v, key)
	default:
		if !d.inEntry(key) {
			if at, ok := d.cfg.at[key]; ok {
				d.fail(k, key, "is set already, in %s:%d", at.file, at.line)
				return
			}
			d.remember(key, n.Value)
		}
		d.place(key, k)
		d.scalar(n, v, f, key)
	}
}

// remember keeps a scalar for viper.
func (d *decoder) remember(key, value string) {
	m := d.single
	parts := strings.Split(key, ".")
	for _, p := range parts[:len(parts)-1] {
		next, ok := m[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[p] = next
		}
		m = next
	}
	m[parts[len(parts)-1]] = value
}

// entries fills a list whose entries have names.
func (d *decoder) entries(n *yaml.Node, list reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, key, "must be a list (- name: …), not %s", shape(n))
		return
	}
	for _, item := range n.Content {
		item = resolve(item)
		entryKey := fmt.Sprintf("%s[%d]", key, list.Len())
		if name := d.nameOf(item); name != "" {
			entryKey = join(key, name)
			if at, ok := d.cfg.at[entryKey]; ok {
				d.fail(item, entryKey, "the name is taken by %s:%d; names are unique", at.file, at.line)
				continue
			}
		}
		d.place(entryKey, item)
		entry := reflect.New(list.Type().Elem()).Elem()
		d.object(item, entry, entryKey)
		list.Set(reflect.Append(list, entry))
	}
}

func (d *decoder) nameOf(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for _, p := range d.pairs(n) {
		if p.key.Value == "name" && p.value.Kind == yaml.ScalarNode && !strings.ContainsAny(p.value.Value, ".[]\n") {
			return p.value.Value
		}
	}
	return ""
}

// texts fills a list of strings.
func (d *decoder) texts(k, n *yaml.Node, list reflect.Value, f reflect.StructField, key string) {
	d.place(key, k)
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = fmt.Sprintf("; write [%s]", short(n.Value))
		}
		d.fail(n, key, "must be a list, not %s%s", shape(n), hint)
		return
	}
	for i, item := range n.Content {
		item = resolve(item)
		itemKey := fmt.Sprintf("%s[%d]", key, i)
		d.place(itemKey, item)
		text := reflect.New(reflect.TypeFor[string]()).Elem()
		if !d.scalar(item, text, f, itemKey) {
			text.SetString(item.Value) // the others keep their places
		} else if slices.Contains(list.Interface().([]string), text.String()) {
			d.fail(item, itemKey, "%q is there twice", text.String())
		}
		list.Set(reflect.Append(list, text))
	}
}

// free fills a map whose names are not ours; they keep their case.
func (d *decoder) free(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, key, "must have keys and values, not %s", shape(n))
		return
	}
	m := reflect.MakeMap(v.Type())
	for _, p := range d.pairs(n) {
		at := join(key, p.key.Value)
		d.place(at, p.key)
		if v.Type().Elem().Kind() == reflect.String {
			text := reflect.New(reflect.TypeFor[string]()).Elem()
			if d.scalar(p.value, text, reflect.StructField{}, at) {
				m.SetMapIndex(reflect.ValueOf(p.key.Value), text)
			}
			continue
		}
		d.budget = 10_000
		if value, ok := d.any(p.value, at); ok {
			item := reflect.Zero(v.Type().Elem())
			if value != nil {
				item = reflect.ValueOf(value)
			}
			m.SetMapIndex(reflect.ValueOf(p.key.Value), item)
		}
	}
	v.Set(m)
}

// any turns a node into what JSON has. A date stays the text that it is.
func (d *decoder) any(n *yaml.Node, key string) (any, bool) {
	n = resolve(n)
	if d.budget--; d.budget <= 0 || strings.Count(key, ".") > 50 {
		if d.budget >= 0 || d.budget == -1 {
			d.fail(n, key, "is too large or too deep")
		}
		d.budget = -2
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, p := range d.pairs(n) {
			value, ok := d.any(p.value, join(key, p.key.Value))
			if !ok {
				return nil, false
			}
			m[p.key.Value] = value
		}
		return m, true
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			value, ok := d.any(item, fmt.Sprintf("%s.%d", key, i))
			if !ok {
				return nil, false
			}
			list = append(list, value)
		}
		return list, true
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, true
	case "!!bool", "!!int", "!!float":
		var value any
		if err := n.Decode(&value); err != nil {
			d.fail(n, key, "%q can't be read as %s", short(n.Value), shape(n))
			return nil, false
		}
		if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			d.fail(n, key, "%q is no number that JSON has", n.Value)
			return nil, false
		}
		return value, true
	default:
		return n.Value, true
	}
}

// scalar reads one value; ok is false where it reported a problem.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f reflect.StructField, key string) (ok bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, key, "must be %s, not %s", wanted(v), shape(n))
		return false
	}
	before := len(d.problems)
	text := n.Value
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		value, err := parseDuration(text)
		switch {
		case err != nil:
			d.fail(n, key, "%q is no duration; write %s", short(text), durationLike(text))
		case value <= 0:
			d.fail(n, key, "%q must be longer than nothing", short(text))
		default:
			v.SetInt(int64(value))
		}
	case v.Type() == reflect.TypeFor[Size]():
		value, hint := parseSize(text)
		if hint != "" {
			d.fail(n, key, "%q is no size; write %s", short(text), hint)
		} else {
			v.SetInt(value)
		}
	case v.Kind() == reflect.Int:
		value, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		switch {
		case err != nil || n.ShortTag() != "!!int":
			d.fail(n, key, "must be a whole number, not %s", described(n))
		case value < 1 || value > 1_000_000:
			d.fail(n, key, "must be from 1 to 1000000, not %d", value)
		default:
			v.SetInt(int64(value))
		}
	case v.Kind() == reflect.Bool:
		value, err := strconv.ParseBool(text)
		if err != nil || n.ShortTag() != "!!bool" {
			d.fail(n, key, "must be true or false, not %s", described(n))
		} else {
			v.SetBool(value)
		}
	default:
		d.text(n, v, f, key)
	}
	return len(d.problems) == before
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, f reflect.StructField, key string) {
	text := n.Value
	switch n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!null":
		hint := strconv.Quote(short(text))
		if f.Tag.Get("secret") != "" {
			hint = "it in quotes"
		}
		d.fail(n, key, "must be text, not %s; write %s", shape(n), hint)
		return
	}
	if strings.ContainsRune(text, 0) {
		d.fail(n, key, "has a zero byte")
		return
	}
	if enum := f.Tag.Get("enum"); enum != "" {
		words := strings.Split(enum, ",")
		if !slices.Contains(words, text) {
			hint := suggest(text, words)
			if hint == "" {
				hint = "; write " + strings.Join(words, ", ")
				if i := strings.LastIndex(hint, ", "); i >= 0 {
					hint = hint[:i] + " or " + hint[i+2:]
				}
			}
			d.fail(n, key, "%q is not known%s", short(text), hint)
			return
		}
	}
	if text == "" && f.Tag.Get("required") != "" {
		d.fail(n, key, "is empty")
		return
	}
	if f.Tag.Get("path") != "" && text != "" {
		text = d.absolute(text)
	}
	v.SetString(text)
}

// absolute makes a path begin at the directory of the file that has it.
func (d *decoder) absolute(path string) string {
	file := d.file
	if strings.HasPrefix(file, EnvPrefix+"_") {
		file = d.cfg.File
	}
	return absolute(file, path)
}

func absolute(file, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	joined := filepath.Join(filepath.Dir(file), path)
	if abs, err := filepath.Abs(joined); err == nil {
		return abs
	}
	return joined
}

func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	default:
		return "text"
	}
}

// described is the value itself, quoted where it is text.
func described(n *yaml.Node) string {
	if shape(n) == "text" {
		return strconv.Quote(short(n.Value))
	}
	return short(n.Value)
}

func wanted(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "a duration such as 10s"
	case v.Type() == reflect.TypeFor[Size]():
		return "a size such as 64MiB"
	case v.Kind() == reflect.Int:
		return "a number"
	case v.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "text"
	}
}

// short keeps what a message quotes of a value small.
func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

var number = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµ]*)\s*$`)

// durationLike guesses how a text that is no duration is to be written.
func durationLike(text string) string {
	units := map[string]string{"": "s", "s": "s", "sec": "s", "second": "s", "seconds": "s", "secs": "s", "ms": "ms",
		"m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m", "h": "h", "hour": "h", "hours": "h"}
	if m := number.FindStringSubmatch(text); m != nil {
		if unit, ok := units[strings.ToLower(m[2])]; ok {
			return m[1] + unit
		}
	}
	return "a number with ms, s, m or h, such as 10s"
}

var sizes = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// parseDuration is [time.ParseDuration] with days before the rest: 30d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	var days time.Duration
	if n, rest, ok := strings.Cut(text, "d"); ok {
		whole, err := strconv.ParseUint(n, 10, 16)
		if err != nil || whole > 36500 {
			return 0, errors.New("no days")
		}
		if days = time.Duration(whole) * 24 * time.Hour; rest == "" {
			return days, nil
		}
		text = rest
	}
	d, err := time.ParseDuration(text)
	return days + d, err
}

// parseSize returns the bytes, or how to write what is meant.
func parseSize(text string) (size int64, hint string) {
	const example = "a whole number with KiB, MiB or GiB, such as 64MiB"
	m := number.FindStringSubmatch(text)
	if m == nil {
		return 0, example
	}
	for unit, factor := range sizes {
		if !strings.EqualFold(unit, m[2]) {
			continue
		}
		if text != m[1]+unit {
			return 0, m[1] + unit
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || n < 1 || n > (1<<40)/factor {
			return 0, example
		}
		return n * factor, ""
	}
	for unit := range sizes {
		if len(m[2]) == 1 && strings.EqualFold(unit, m[2]+"iB") {
			return 0, m[1] + unit
		}
	}
	return 0, example
}
