package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// EnvPrefix begins the environment variables that override single values:
// PROVOST_DATABASE_URL, PROVOST_LISTEN_API, PROVOST_WORKERS.
const EnvPrefix = "PROVOST"

// Load reads the file (.yaml, .yml, .toml or .json), merges conf.d/*.yaml that
// stands beside it, lets the environment override single values, fills in the
// defaults and checks the whole. The lists of all files are appended; a single
// value may be set in one file only. An error is a *[Problems] with everything
// that is wrong.
func Load(path string, checks ...Check) (*Config, error) { return LoadWith(path, "", nil, checks...) }

// LoadWith is Load of what the configuration would be if file, one of those
// that Load reads, had another text; nil: if it were not there.
func LoadWith(path, file string, text []byte, checks ...Check) (*Config, error) {
	sources, err := read(path, file, text)
	if err != nil {
		return nil, err
	}
	return load(sources, checks)
}

// read reads the files, one of them as if it had another text.
func read(path, file string, text []byte) ([]source, error) {
	files := []string{path}
	more, err := filepath.Glob(filepath.Join(filepath.Dir(path), "conf.d", "*.yaml"))
	if err == nil { // the only error is a pattern that can't be, from brackets in the path
		if file != "" && !slices.Contains(more, file) {
			more = append(more, file)
		}
		sort.Strings(more)
		files = append(files, more...)
	}
	var sources []source
	var problems []Problem
	for _, name := range files {
		if name == file {
			if text != nil {
				sources = append(sources, source{file: file, text: text})
			}
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			problems = append(problems, Problem{File: name, Message: "can't be read: " + reason(err)})
			continue
		}
		sources = append(sources, source{file: name, text: b})
	}
	if len(problems) > 0 {
		p := Problems(problems)
		return nil, &p
	}
	return sources, nil
}

// LoadText is Load of files that need not be there: the text of the main one at
// path, and of those that would stand in conf.d beside it, by name.
func LoadText(path string, text []byte, more map[string][]byte, checks ...Check) (*Config, error) {
	sources := []source{{file: path, text: text}}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		sources = append(sources, source{file: filepath.Join(filepath.Dir(path), "conf.d", name), text: more[name]})
	}
	return load(sources, checks)
}

// Texts reads the files of a configuration as they are, mistakes and all: the
// main one, and those of conf.d by name.
func Texts(path string) (text []byte, more map[string][]byte, err error) {
	if text, err = os.ReadFile(path); err != nil {
		return nil, nil, err
	}
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "conf.d", "*.yaml")) // the only error is a pattern that can't be, from brackets in the path
	more = map[string][]byte{}
	for _, name := range found {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		more[filepath.Base(name)] = b
	}
	return text, more, nil
}

// Socket tells where the daemon of a configuration listens, also for one that
// has mistakes by now: as far as it can be read. It is for a command that wants
// to talk to the daemon, which goes on with the configuration that it has.
func Socket(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	s := source{file: path, text: b}
	for len(s.text) > 0 { // what stands before a fault of the file's form
		if _, problem := parse(s); problem == nil || filepath.Ext(path) == ".json" {
			break
		}
		end := bytes.LastIndexByte(bytes.TrimRight(s.text, "\n"), '\n') + 1
		s.text = s.text[:end]
	}
	cfg := &Config{File: path, at: map[string]position{}}
	d := &decoder{cfg: cfg, single: map[string]any{}, known: map[*yaml.Node][]pair{}, file: path}
	if node, problem := parse(s); problem == nil && node != nil {
		d.object(node, reflect.ValueOf(cfg).Elem(), "")
	}
	d.override()
	cfg.fill()
	return cfg.Listen.Socket
}

func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

type source struct {
	file string
	text []byte
	// list is, for an entry of the host's database, the list that it is in.
	list string
}

// load reads sources; the first is the main one.
func load(sources []source, checks []Check) (*Config, error) {
	cfg := &Config{File: sources[0].file, at: map[string]position{}}
	d := &decoder{cfg: cfg, single: map[string]any{}, known: map[*yaml.Node][]pair{}}
	whole := true // every file could be read at all
	for _, s := range sources {
		d.file = s.file
		node, problem := parse(s)
		if problem != nil {
			d.problems = append(d.problems, *problem)
			whole = false
			continue
		}
		if node != nil {
			d.object(node, reflect.ValueOf(cfg).Elem(), "")
		}
	}
	if whole {
		d.override()
		d.problems = append(d.problems, cfg.check()...)
		cfg.fill()
		for _, check := range checks {
			d.problems = append(d.problems, check(cfg)...)
		}
	}
	if len(d.problems) > 0 {
		return nil, cfg.Locate(d.problems)
	}
	sum := sha256.New()
	for _, s := range sources {
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(s.file), len(s.text), s.text)
	}
	cfg.digest = hex.EncodeToString(sum.Sum(nil))
	return cfg, nil
}

// override reads the single values through viper: the environment comes first,
// then the files, then the defaults.
func (d *decoder) override() {
	v := viper.New()
	v.SetEnvPrefix(EnvPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	root := reflect.ValueOf(d.cfg).Elem()
	values := singles(root, "")
	for _, s := range values {
		if s.fallback != "" {
			v.SetDefault(s.key, s.fallback)
		}
	}
	if err := v.MergeConfigMap(d.single); err != nil {
		d.problems = append(d.problems, Problem{Message: err.Error()})
		return
	}
	for _, s := range values {
		variable := EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
		_, given := d.cfg.at[s.key]
		switch os.Getenv(variable) {
		case "":
			if given || !v.IsSet(s.key) {
				continue // what the file has is read already
			}
			d.file = d.cfg.File
		default:
			d.file = variable
			d.cfg.at[s.key] = position{file: variable}
		}
		node := &yaml.Node{Kind: yaml.ScalarNode, Value: v.GetString(s.key)}
		if s.value.Kind() == reflect.String {
			node.Tag = "!!str"
		}
		d.scalar(node, s.value, s.field, s.key)
	}
}

type single struct {
	key      string
	fallback string
	value    reflect.Value
	field    reflect.StructField
}

// singles lists the scalar values that don't stand in a list.
func singles(v reflect.Value, prefix string) []single {
	var all []single
	for _, f := range fields(v.Type()) {
		key := join(prefix, f.Tag.Get("yaml"))
		switch value := v.FieldByIndex(f.Index); value.Kind() {
		case reflect.Struct:
			all = append(all, singles(value, key)...)
		case reflect.String, reflect.Int, reflect.Int64, reflect.Bool:
			all = append(all, single{key, f.Tag.Get("default"), value, f})
		}
	}
	return all
}
