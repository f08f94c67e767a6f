package config

import (
	"reflect"
	"strconv"
)

// Changed lists the keys whose values differ between two configurations, an
// entry of a list by its name: apps.acme.mapping. Of an entry that only one of
// them has it lists the entry, with + or - before it. No value is told, so the
// list can be shown to anybody. before may be nil: then every entry is new.
func Changed(before, after *Config) []string {
	if before == nil {
		before = &Config{}
	}
	var c changes
	c.object("", reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem())
	return c
}

type changes []string

func (c *changes) object(key string, a, b reflect.Value) {
	for _, f := range fields(a.Type()) {
		c.value(join(key, f.Tag.Get("yaml")), a.FieldByIndex(f.Index), b.FieldByIndex(f.Index))
	}
}

func (c *changes) value(key string, a, b reflect.Value) {
	switch {
	case a.Type() == reflect.TypeFor[Secret]() || a.Type() == reflect.TypeFor[*Secret](): // as a whole: where it comes from is of one piece
	case a.Kind() == reflect.Struct && len(fields(a.Type())) > 0:
		c.object(key, a, b)
		return
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		c.value(key, a.Elem(), b.Elem())
		return
	case a.Kind() == reflect.Slice && isNamed(a.Type().Elem()):
		c.entries(key, a, b)
		return
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) && (a.Kind() != reflect.Slice && a.Kind() != reflect.Map || a.Len()+b.Len() > 0) {
		*c = append(*c, key)
	}
}

// isNamed tells whether the entries of a list are told apart by a name.
func isNamed(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	f, ok := t.FieldByName("Name")
	return ok && f.Type.Kind() == reflect.String && f.Tag.Get("yaml") == "name"
}

// entries compares lists by the names of their entries. Where a name is there
// twice, as headers may be, the entries are told apart by their places, too.
func (c *changes) entries(key string, a, b reflect.Value) {
	named := func(list reflect.Value) (names []string, of map[string]reflect.Value) {
		of = map[string]reflect.Value{}
		for i := range list.Len() {
			name := join(key, list.Index(i).FieldByName("Name").String())
			for n := 2; of[name].IsValid(); n++ {
				name = join(key, list.Index(i).FieldByName("Name").String()) + "[" + strconv.Itoa(n) + "]"
			}
			names, of[name] = append(names, name), list.Index(i)
		}
		return names, of
	}
	names, old := named(a)
	next, now := named(b)
	for _, name := range names {
		if !now[name].IsValid() {
			*c = append(*c, "-"+name)
		}
	}
	for _, name := range next {
		if old[name].IsValid() {
			c.value(name, old[name], now[name])
		} else {
			*c = append(*c, "+"+name)
		}
	}
}
