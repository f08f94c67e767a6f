package config

import (
	"bytes"
	"fmt"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Entry is one app or credential that a command brings, as a document of its
// own: the same keys as an entry of the list.
type Entry struct {
	list string
	node *yaml.Node
	// Name is its name.
	Name string
}

// ParseEntry reads a document, YAML or JSON, of an entry of list: apps or
// credentials. Only its form and its name are checked; the rest is checked
// with the whole configuration.
func ParseEntry(list, file string, text []byte) (*Entry, error) {
	fail := func(line int, format string, args ...any) (*Entry, error) {
		return nil, &Problems{{File: file, Line: line, Message: fmt.Sprintf(format, args...)}}
	}
	node, problem := parseYAML(source{file, text})
	switch {
	case problem != nil:
		return nil, &Problems{*problem}
	case node == nil:
		return fail(0, "is empty; write the keys of one entry of %s", list)
	case node.Kind != yaml.MappingNode:
		return fail(node.Line, "is no object; write the keys of one entry of %s, not a list", list)
	}
	e := &Entry{list: list, node: node}
	if name := child(node, "name"); name != nil && name.Kind == yaml.ScalarNode {
		e.Name = name.Value
	}
	if e.Name == "" || e.Name != filepath.Base(e.Name) {
		return fail(node.Line, "has no usable name; give it the key name")
	}
	return e, nil
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// Seal puts what seal makes of each secret's value in the place of the value.
func (e *Entry) Seal(seal func(value string) (string, error)) error { return sealIn(e.node, seal) }

// secrets are the keys that have a Secret as their value.
var secrets = map[string]bool{"password": true, "token": true, "client_secret": true, "value": true}

func sealIn(n *yaml.Node, seal func(string) (string, error)) error {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !secrets[key.Value] || value.Kind != yaml.MappingNode {
			if err := sealIn(value, seal); err != nil {
				return err
			}
			continue
		}
		for j := 0; j+1 < len(value.Content); j += 2 {
			if value.Content[j].Value != "value" || value.Content[j+1].Kind != yaml.ScalarNode {
				continue
			}
			sealed, err := seal(value.Content[j+1].Value)
			if err != nil {
				return err
			}
			value.Content[j].Value = "sealed"
			value.Content[j+1] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: sealed}
		}
	}
	return nil
}

// File is the file that an entry has to itself, in conf.d beside the
// configuration at path.
func (e *Entry) File(path string) string { return EntryFile(path, e.list, e.Name) }

// EntryFile is the file that an entry of list has to itself.
func EntryFile(path, list, name string) string {
	return filepath.Join(filepath.Dir(path), "conf.d", list+"."+name+".yaml")
}

// Text is the file's text.
func (e *Entry) Text() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by provost; change it with provost apply, or here.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(map[string][]*yaml.Node{e.list: {e.node}})
	return b.Bytes(), err
}

// DeclaredIn tells in which file an entry of list stands, "" for none.
func (c *Config) DeclaredIn(list, name string) string { return c.at[list+"."+name].file }
