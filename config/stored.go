package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lists are the lists of a configuration whose entries may stand in the host's
// database instead of a file.
var Lists = []string{"apps", "credentials", "plugins"}

// Stored is an entry of a list that stands in the host's database: what the API
// and the console have made. Document is JSON with the keys that an entry of the
// list has in a file.
type Stored struct {
	List, Name string
	Document   []byte
}

// storedSources begin the sources that a connector of the database may have.
var storedSources = []string{"builtin:", "https://", "oci://", UploadedPrefix}

// UploadedPrefix begins the source of a connector that was uploaded; its digest
// follows.
const UploadedPrefix = "uploaded:"

// storedPlace begins what stands for the file of a stored entry in problems.
const storedPlace = "database:"

// Place is what stands for the file of a stored entry: database:apps.acme.
func (s Stored) Place() string { return storedPlace + s.List + "." + s.Name }

// IsStored tells whether a place of [Config.DeclaredIn] is the host's database.
func IsStored(place string) bool { return strings.HasPrefix(place, storedPlace) }

// LoadStored is Load of the files and of entries of the host's database. The
// files come first: they must be whole without the entries, which may name what
// the files declare.
func LoadStored(path string, stored []Stored, checks ...Check) (*Config, error) {
	sources, err := read(path, "", nil)
	if err != nil {
		return nil, err
	}
	files, err := load(sources, checks)
	if err != nil || len(stored) == 0 {
		return files, err
	}
	for _, s := range stored {
		sources = append(sources, source{file: s.Place(), text: s.Document, list: s.List})
	}
	cfg, err := load(sources, checks)
	if err != nil {
		return nil, err
	}
	cfg.digest = files.digest
	return cfg, nil
}

// BadStored returns what is wrong with each stored entry for which err, of
// [LoadStored] or of [Config.Locate], says so: by the entry's place.
func BadStored(err error) map[string]string {
	var problems *Problems
	if !errors.As(err, &problems) {
		return nil
	}
	bad := map[string]string{}
	for _, p := range *problems {
		if !IsStored(p.File) {
			continue
		}
		text := p.Message
		if p.Key != "" {
			text = p.Key + ": " + text
		}
		if bad[p.File] != "" {
			text = bad[p.File] + "\n" + text
		}
		bad[p.File] = text
	}
	return bad
}

// parseStored makes the node of a file that would have the entry.
func parseStored(s source) (*yaml.Node, *Problem) {
	node, problem := parseJSON(source{file: s.file, text: s.text})
	if problem != nil || node == nil {
		return nil, problem
	}
	e := &Entry{list: s.list, node: node}
	if name := child(node, "name"); name != nil {
		e.Name = name.Value
	}
	if wrong := e.checkOwn(); len(wrong) > 0 {
		wrong[0].File = s.file
		return nil, &wrong[0]
	}
	return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.list, Line: 1},
		{Kind: yaml.SequenceNode, Line: 1, Content: []*yaml.Node{node}}}}, nil
}

// typeOf is what an entry of a list is read as.
func typeOf(list string) reflect.Type {
	return map[string]reflect.Type{"credentials": reflect.TypeFor[Credential](), "apps": reflect.TypeFor[App](), "plugins": reflect.TypeFor[Plugin]()}[list]
}

// checkOwn finds what an entry of the host's database may not name: files,
// programs and variables of the machine. Whoever may use the API is not who may
// use the machine.
func (e *Entry) checkOwn() (problems []Problem) {
	fail := func(path, format string, args ...any) {
		problems = append(problems, Problem{Key: e.list + "." + e.Name + "." + path, Message: fmt.Sprintf(format, args...)})
	}
	_ = eachValue(e.node, typeOf(e.list), "", func(path string, f reflect.StructField, n *yaml.Node) error { // visits without failing
		switch {
		case f.Tag.Get("path") != "" || f.Tag.Get("machine") != "":
			fail(path, "is of the machine: only a configuration file may say it")
		case e.list == "plugins" && path == "source" && !slices.ContainsFunc(storedSources, func(prefix string) bool { return strings.HasPrefix(n.Value, prefix) }):
			fail(path, "must begin with %s; only a configuration file may name a file of the machine", strings.Join(storedSources, ", "))
		}
		return nil
	})
	if aws := child(e.node, "aws"); e.list == "credentials" && aws != nil && child(resolve(aws), "access_key_id") == nil {
		fail("aws.access_key_id", "is missing; only a configuration file may sign in with what the machine has")
	}
	return problems
}

// asStored says, in a document that is shown, that a secret is stored: whoever
// sends the document back keeps it.
const asStored = "stored"

// Hide puts {stored: true} in the place of each secret that the document itself
// has. Where a secret comes from elsewhere, such as the environment, the
// document shows from where.
func (e *Entry) Hide() {
	_ = eachSecret(e.node, typeOf(e.list), "", func(_ string, n *yaml.Node) error { // hiding fails never
		if child(n, "value") != nil || child(n, "sealed") != nil {
			n.Content = []*yaml.Node{text(asStored), {Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}}
		}
		return nil
	})
}

// addresses are those that what signs in may be sent to.
func (e *Entry) addresses() map[string]string {
	found := map[string]string{}
	_ = eachValue(e.node, typeOf(e.list), "", func(path string, f reflect.StructField, n *yaml.Node) error { // visits without failing
		if slices.Contains(addresses, f.Tag.Get("yaml")) && n.Kind == yaml.ScalarNode {
			found[path] = n.Value
		}
		return nil
	})
	return found
}

// Keep puts the secret of before at the place of each {stored: true}; before may
// be nil. A secret stays with its addresses: whoever may change where it is sent
// need not know it.
func (e *Entry) Keep(before *Entry) error {
	moved := before != nil && !maps.Equal(e.addresses(), before.addresses())
	var problems Problems
	err := eachSecret(e.node, typeOf(e.list), "", func(path string, n *yaml.Node) error {
		if child(n, asStored) == nil {
			return nil
		}
		var old *yaml.Node
		if before != nil {
			old = before.secret(path)
		}
		if old == nil || child(old, "sealed") == nil {
			problems = append(problems, Problem{Key: e.list + "." + e.Name + "." + path, Message: "nothing is stored that could be kept; give the secret"})
			return nil
		}
		if moved {
			problems = append(problems, Problem{Key: e.list + "." + e.Name + "." + path, Message: "can't be kept for another address; give the secret again"})
			return nil
		}
		n.Content = old.Content
		return nil
	})
	if err == nil && len(problems) > 0 {
		return &problems
	}
	return err
}

// HasSecret tells whether the document has a secret in the open, which must be
// sealed before it is stored.
func (e *Entry) HasSecret() bool {
	found := errors.New("found")
	return eachSecret(e.node, typeOf(e.list), "", func(_ string, n *yaml.Node) error {
		if child(n, "value") != nil {
			return found
		}
		return nil
	}) != nil
}

// JSON is the entry's document.
func (e *Entry) JSON() ([]byte, error) {
	value, err := plain(e.node, 0)
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// deepest is how deep a document may be.
const deepest = 50

// plain turns a node into what JSON has.
func plain(n *yaml.Node, depth int) (any, error) {
	if depth > deepest {
		return nil, fmt.Errorf("the document is deeper than %d levels", deepest)
	}
	n = resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := plain(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = value
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			value, err := plain(item, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	}
	switch n.ShortTag() {
	case "!!bool", "!!int", "!!float", "!!null":
		var value any
		err := n.Decode(&value)
		return value, err
	}
	return n.Value, nil
}

// Document is the document of an entry of the configuration as it is in effect,
// defaults and all, without secrets; false where there is none of that name.
func (c *Config) Document(list, name string) (map[string]any, bool) {
	v := reflect.ValueOf(c).Elem()
	for _, f := range fields(v.Type()) {
		if f.Tag.Get("yaml") != list || !slices.Contains(Lists, list) {
			continue
		}
		entries := v.FieldByIndex(f.Index)
		for i := range entries.Len() {
			if entries.Index(i).FieldByName("Name").String() == name {
				return document(entries.Index(i)), true
			}
		}
	}
	return nil, false
}

func document(v reflect.Value) map[string]any {
	shown := map[string]any{}
	for _, f := range fields(v.Type()) {
		value := v.FieldByIndex(f.Index)
		if value.IsZero() && f.Tag.Get("default") != "true" {
			continue
		}
		shown[f.Tag.Get("yaml")] = shownValue(value)
	}
	return shown
}

func shownValue(v reflect.Value) any {
	switch s := v.Interface().(type) {
	case Secret:
		return shownSecret(s)
	case *Secret:
		return shownSecret(*s)
	case fmt.Stringer: // durations and sizes
		if v.Kind() != reflect.Struct && v.Kind() != reflect.Pointer {
			return s.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		return shownValue(v.Elem())
	case reflect.Struct:
		return document(v)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range v.Len() {
			list[i] = shownValue(v.Index(i))
		}
		return list
	}
	return v.Interface()
}

func shownSecret(s Secret) any {
	if s.Value != "" || s.Sealed != "" {
		return map[string]any{asStored: true}
	}
	shown := document(reflect.ValueOf(s))
	delete(shown, "previous")
	return shown
}

// eachValue visits the values of a document and those within them, in the order
// of its keys, with the fields that they are read into.
func eachValue(n *yaml.Node, t reflect.Type, path string, visit func(path string, f reflect.StructField, n *yaml.Node) error) error {
	n = resolve(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			name := fmt.Sprint(i)
			if named := child(resolve(item), "name"); named != nil {
				name = named.Value
			}
			if err := eachValue(item, t.Elem(), join(path, name), visit); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		of := map[string]reflect.StructField{}
		for _, f := range fields(t) {
			of[f.Tag.Get("yaml")] = f
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			f, ok := of[n.Content[i].Value]
			if !ok {
				continue
			}
			path := join(path, f.Tag.Get("yaml"))
			value := resolve(n.Content[i+1])
			if err := visit(path, f, value); err != nil {
				return err
			}
			if err := eachValue(value, f.Type, path, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachSecret visits the secrets among them.
func eachSecret(n *yaml.Node, t reflect.Type, path string, visit func(path string, secret *yaml.Node) error) error {
	return eachValue(n, t, path, func(path string, f reflect.StructField, n *yaml.Node) error {
		if f.Type != reflect.TypeFor[Secret]() && f.Type != reflect.TypeFor[*Secret]() || n.Kind != yaml.MappingNode {
			return nil
		}
		return visit(path, n)
	})
}

// WithStored is stored with one entry put in or taken out: the order is that of
// lists and names.
func WithStored(stored []Stored, one Stored) []Stored {
	all := map[string]Stored{}
	for _, s := range stored {
		all[s.Place()] = s
	}
	if all[one.Place()] = one; one.Document == nil {
		delete(all, one.Place())
	}
	var list []Stored
	for _, place := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[place])
	}
	return list
}
