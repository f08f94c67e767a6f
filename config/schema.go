package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema of the configuration for editors, made from
// the types.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		ExpandedStruct:             true,
		Anonymous:                  true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			switch t {
			case reflect.TypeFor[time.Duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d)?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$`}
			case reflect.TypeFor[Rate]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?/[smh]$`}
			case reflect.TypeFor[Threshold]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?%?$`}
			case reflect.TypeFor[Size]():
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
					{Type: "string", Pattern: `^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)?$`}, {Type: "integer", Minimum: "1"},
				}}
			}
			return nil
		},
	}
	s := r.Reflect(&Config{})
	s.Title = "Provost configuration"
	annotate(s, s, reflect.TypeFor[Config]())
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// annotate adds what the tags say of the fields of t.
func annotate(root, s *jsonschema.Schema, t reflect.Type) {
	for _, f := range fields(t) {
		p, ok := s.Properties.Get(f.Tag.Get("yaml"))
		if !ok {
			continue
		}
		p.Description = f.Tag.Get("doc")
		if f.Tag.Get("required") != "" {
			s.Required = append(s.Required, f.Tag.Get("yaml"))
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if def, ok := root.Definitions[inner.Name()]; ok && inner.Kind() == reflect.Struct && def.Description == "" {
			def.Description = inner.Name() + "."
			annotate(root, def, inner)
		}
		target := p
		if p.Items != nil {
			target = p.Items
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			for _, word := range strings.Split(enum, ",") {
				target.Enum = append(target.Enum, word)
			}
		}
		if fallback := f.Tag.Get("default"); fallback != "" {
			switch {
			case f.Type.Kind() == reflect.Slice:
				p.Default = strings.Split(fallback, ",")
			case f.Type.Kind() == reflect.Bool, f.Type.Kind() == reflect.Int:
				p.Default = json.RawMessage(fallback)
			default:
				p.Default = fallback
			}
		}
	}
}
