package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

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
func ParseEntry(list, file string, document []byte) (*Entry, error) {
	fail := func(line int, format string, args ...any) (*Entry, error) {
		return nil, &Problems{{File: file, Line: line, Message: fmt.Sprintf(format, args...)}}
	}
	node, problem := parseYAML(source{file: file, text: document})
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
	if e.Name == "" {
		return fail(node.Line, "has no name; give it the key name")
	}
	if e.Name != filepath.Base(e.Name) {
		return fail(node.Line, "%q is no name: it has letters, digits and, as its list allows, hyphens or underscores", e.Name)
	}
	return e, nil
}

// ParseListed reads an entry of list back from the file that [Entry.Text] wrote.
func ParseListed(list, file string, document []byte) (*Entry, error) {
	node, problem := parseYAML(source{file: file, text: document})
	if problem != nil {
		return nil, &Problems{*problem}
	}
	var entries *yaml.Node
	if node != nil && node.Kind == yaml.MappingNode {
		entries = child(node, list)
	}
	if entries == nil || entries.Kind != yaml.SequenceNode || len(entries.Content) != 1 || entries.Content[0].Kind != yaml.MappingNode {
		return nil, &Problems{{File: file, Key: list, Message: "must have one entry, as a command wrote it"}}
	}
	e := &Entry{list: list, node: entries.Content[0]}
	if name := child(e.node, "name"); name != nil {
		e.Name = name.Value
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
// path is where the secret stands within the entry, such as basic.password.
func (e *Entry) Seal(seal func(path, value string) (string, error)) error {
	return e.replace("value", seal)
}

// Reseal puts what reseal makes of each sealed secret in its place.
func (e *Entry) Reseal(reseal func(path, sealed string) (string, error)) error {
	return e.replace("sealed", reseal)
}

// replace puts what sealed makes of the value of a key in its place, as sealed.
func (e *Entry) replace(from string, sealed func(path, value string) (string, error)) error {
	return eachSecret(e.node, typeOf(e.list), "", func(path string, n *yaml.Node) error {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != from || n.Content[i+1].Kind != yaml.ScalarNode {
				continue
			}
			value, err := sealed(path, n.Content[i+1].Value)
			if err != nil {
				return err
			}
			n.Content[i], n.Content[i+1] = text("sealed"), text(value)
		}
		return nil
	})
}

// secret is the document of a secret within the entry, nil where there is none.
func (e *Entry) secret(path string) *yaml.Node {
	n := e.node
	for name := range strings.SplitSeq(path, ".") {
		n = resolve(n)
		if n.Kind == yaml.SequenceNode {
			var found *yaml.Node
			for _, item := range n.Content {
				if named := child(resolve(item), "name"); named != nil && named.Value == name {
					found = item
				}
			}
			n = found
		} else {
			n = child(n, name)
		}
		if n == nil {
			return nil
		}
	}
	return resolve(n)
}

// Rotate puts a new sealed secret in the place of the one at path, and that one
// beside it as the previous. reseal seals the previous one for its new place.
func (e *Entry) Rotate(path, sealed string, reseal func(sealed string) (string, error)) error {
	n := e.secret(path)
	if n == nil || n.Kind != yaml.MappingNode {
		return &Problems{{Key: path, Message: "there is no such secret to rotate"}}
	}
	before := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "previous":
			continue
		case "sealed":
			moved, err := reseal(value.Value)
			if err != nil {
				return err
			}
			value = text(moved)
		}
		before.Content = append(before.Content, key, value)
	}
	n.Content = []*yaml.Node{text("sealed"), text(sealed), text("previous"), before}
	return nil
}

// EndRotation drops the previous secret at path.
func (e *Entry) EndRotation(path string) bool {
	n := e.secret(path)
	if n == nil {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "previous" {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return true
		}
	}
	return false
}

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

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
