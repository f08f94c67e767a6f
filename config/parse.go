package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// parse makes a node of a file by its extension; nil for an empty one.
func parse(s source) (*yaml.Node, *Problem) {
	if s.list != "" {
		return parseStored(s)
	}
	switch strings.ToLower(filepath.Ext(s.file)) {
	case ".toml":
		return parseTOML(s)
	case ".json":
		return parseJSON(s)
	case ".yaml", ".yml":
		return parseYAML(s)
	default:
		return nil, &Problem{File: s.file, Message: "is no configuration; its name must end with .yaml, .yml, .toml or .json"}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func parseYAML(s source) (*yaml.Node, *Problem) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(s.text))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		var second yaml.Node
		if err = dec.Decode(&second); err == nil {
			return nil, &Problem{File: s.file, Line: second.Line, Message: "has a second document; put it into a file of its own in conf.d"}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		message, line := err.Error(), 0
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			message = message[len(m[0]):]
			line, _ = strconv.Atoi(m[1]) // 0 where there is none
		}
		return nil, &Problem{File: s.file, Line: line, Message: "is no YAML: " + message}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// parseJSON reads JSON as the YAML that it is, for its lines.
func parseJSON(s source) (*yaml.Node, *Problem) {
	var any any
	if err := json.Unmarshal(s.text, &any); err != nil {
		line := 0
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line = 1 + bytes.Count(s.text[:min(int(syntax.Offset), len(s.text))], []byte("\n"))
		}
		return nil, &Problem{File: s.file, Line: line, Message: "is no JSON: " + err.Error()}
	}
	// A tab in JSON is white space; in YAML it may not indent.
	return parseYAML(source{file: s.file, text: bytes.ReplaceAll(s.text, []byte("\t"), []byte(" "))})
}

func parseTOML(s source) (*yaml.Node, *Problem) {
	var m map[string]any
	if err := toml.Unmarshal(s.text, &m); err != nil {
		line := 0
		var decode *toml.DecodeError
		if errors.As(err, &decode) {
			line, _ = decode.Position()
		}
		return nil, &Problem{File: s.file, Line: line, Message: "is no TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
	}
	return tomlNode(m, "", 1, tomlLines(s.text)), nil
}

// tomlNode makes a node of a value; its line is that of its path, or of what
// contains it.
func tomlNode(value any, path string, line int, lines map[string]int) *yaml.Node {
	if l, ok := lines[path]; ok {
		line = l
	}
	n := &yaml.Node{Line: line}
	switch v := value.(type) {
	case map[string]any:
		n.Kind = yaml.MappingNode
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			child := tomlNode(v[k], join(path, k), line, lines)
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k, Line: child.Line}, child)
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for i, item := range v {
			n.Content = append(n.Content, tomlNode(item, fmt.Sprintf("%s[%d]", path, i), line, lines))
		}
	default:
		n.Kind, n.Value = yaml.ScalarNode, fmt.Sprint(v)
		switch v.(type) {
		case bool:
			n.Tag = "!!bool"
		case int64:
			n.Tag = "!!int"
		case float64:
			n.Tag = "!!float"
		default:
			n.Tag = "!!str"
		}
	}
	return n
}

var (
	tomlTable = regexp.MustCompile(`^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$`)
	tomlKey   = regexp.MustCompile(`^\s*([A-Za-z0-9_."-]+)\s*=`)
)

// tomlLines finds, as well as it goes without a parser, the line of each path.
func tomlLines(text []byte) map[string]int {
	lines := map[string]int{}
	counts := map[string]int{}
	table := ""
	for i, line := range strings.Split(string(text), "\n") {
		if m := tomlTable.FindStringSubmatch(line); m != nil {
			table = strings.ReplaceAll(m[2], `"`, "")
			// A table below a list is one of its last entry.
			for list, n := range counts {
				if rest, ok := strings.CutPrefix(table, list+"."); ok {
					table = fmt.Sprintf("%s[%d].%s", list, n-1, rest)
				}
			}
			if m[1] == "[[" {
				counts[table]++
				table = fmt.Sprintf("%s[%d]", table, counts[table]-1)
			}
			lines[table] = i + 1
			continue
		}
		if m := tomlKey.FindStringSubmatch(line); m != nil {
			path := join(table, strings.ReplaceAll(m[1], `"`, ""))
			if _, ok := lines[path]; !ok {
				lines[path] = i + 1
			}
		}
	}
	return lines
}
