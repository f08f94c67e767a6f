package config

import (
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// DraftApp reads a document, YAML or JSON, of one app that is not part of the
// configuration yet, or takes the place of one that is, and checks it as a file
// is checked: against the connectors, credentials and groups that there are. The
// problems' keys begin with apps. and the app's name, and tell no file. What is
// missing is a problem too, with all else read as far as it goes.
func (c *Config) DraftApp(name string, document []byte) (App, []Problem) {
	key := "apps." + name
	node, problem := parseYAML(source{file: key, text: document})
	if problem == nil && (node == nil || node.Kind != yaml.MappingNode) {
		problem = &Problem{Key: key, Message: "is no object; write the keys of one app"}
	}
	if problem != nil {
		return App{Name: name}, []Problem{*problem}
	}
	next := *c
	next.at = maps.Clone(c.at)
	maps.DeleteFunc(next.at, func(at string, _ position) bool { return at == key || len(at) > len(key) && at[:len(key)+1] == key+"." })
	next.Apps = slices.DeleteFunc(slices.Clone(c.Apps), func(a App) bool { return a.Name == name })
	d := &decoder{cfg: &next, single: map[string]any{}, known: map[*yaml.Node][]pair{}, file: key}
	next.Apps = append(next.Apps, App{})
	app := &next.Apps[len(next.Apps)-1]
	d.object(node, reflect.ValueOf(app).Elem(), key)
	k := checker{at: next.at}
	next.checkApp(&k, app, key)
	next.fill()
	problems := append(d.problems, k.problems...)
	for i := range problems {
		problems[i].File, problems[i].Line = "", 0
	}
	return *app, problems
}
