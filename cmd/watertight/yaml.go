package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settingsFile is a YAML file of settings that is being read.
type settingsFile struct {
	name   string
	known  []string // the settings' keys
	values map[string]*yaml.Node
	wrong  []error
}

// readSettings returns the values of the file by their settings' keys, the file's
// own name being that of --config, and all that is wrong with it. No name is no
// file.
func readSettings(name string, settings []*setting) (map[string]*yaml.Node, []error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, []error{fmt.Errorf("--config: %w", err)}
	}
	f := settingsFile{name: name, values: map[string]*yaml.Node{keyConfig: {Value: name}}}
	for _, s := range settings {
		f.known = append(f.known, s.key)
	}
	var document yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(data))
	switch err := in.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // empty
	case err != nil:
		return nil, []error{f.syntax(err)}
	}
	f.read("", document.Content[0])
	var second yaml.Node
	switch err := in.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.wrong = append(f.wrong, f.syntax(err))
	default:
		f.refuse(&second, "a second document; one is all that is read")
	}
	return f.values, f.wrong
}

func (f *settingsFile) refuse(n *yaml.Node, format string, args ...any) {
	f.wrong = append(f.wrong, fmt.Errorf("%s:%d: "+format, append([]any{f.name, n.Line}, args...)...))
}

// syntax puts the line where it belongs.
func (f *settingsFile) syntax(err error) error {
	if m := regexp.MustCompile(`^yaml: line (\d+): (.*)`).FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: %s", f.name, m[1], m[2])
	}
	return fmt.Errorf("%s: %s", f.name, strings.TrimPrefix(err.Error(), "yaml: "))
}

// read reads a section, the whole file being the one without a name.
func (f *settingsFile) read(section string, n *yaml.Node) {
	if n = target(n); n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // nothing in it, or all of it a comment
	}
	if n.Kind != yaml.MappingNode {
		f.refuse(n, "want settings, such as %s: …", f.example(section))
		return
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := name.Value
		if section != "" {
			key = section + "." + key
		}
		if line, twice := first[key]; twice {
			f.refuse(name, "%s is set twice, first in line %d", key, line)
			continue
		}
		first[key] = name.Line
		switch {
		case slices.Contains(f.known, key):
			f.values[key] = value
		case slices.Contains(f.sections(), key):
			f.read(key, value)
		default:
			f.refuse(name, "there is no setting %s%s", key, suggest(key, append(f.sections(), f.known...), func(known string) bool {
				return known[strings.LastIndex(known, ".")+1:] == name.Value
			}))
		}
	}
}

func (f *settingsFile) sections() []string {
	var names []string
	for _, key := range f.known {
		if section, _, found := strings.Cut(key, "."); found && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return names
}

// example is a setting of a section.
func (f *settingsFile) example(section string) string {
	for _, key := range f.known {
		if in, name, found := strings.Cut(key, "."); found && in == section {
			return name
		}
	}
	return "server"
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// setNode gives the flag a value of the file: one, or a list where the flag has
// several.
func (s *setting) setNode(n *yaml.Node) error {
	n = target(n)
	_, several := s.flags[0].Value.(pflag.SliceValue)
	switch {
	case n.Kind == yaml.MappingNode:
		return fmt.Errorf("%s: %s is a setting, not a section", s.by.where, s.key)
	case n.Kind == yaml.SequenceNode && several:
		return s.setList(n)
	case n.Kind == yaml.SequenceNode:
		return fmt.Errorf("%s: %s has one value, not a list", s.by.where, s.key)
	case n.Tag == "!!null":
		return fmt.Errorf("%s: %s has no value; leave it out, or write \"\" for nothing", s.by.where, s.key)
	default:
		return s.set(n.Value, func(f *pflag.Flag) error { return f.Value.Set(n.Value) })
	}
}

func (s *setting) setList(n *yaml.Node) error {
	values := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		item = target(item)
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return fmt.Errorf("%s: %s is a list of single values", s.by.where, s.key)
		}
		values = append(values, item.Value)
	}
	if len(values) == 0 {
		return fmt.Errorf("%s: %s is an empty list; leave it out", s.by.where, s.key)
	}
	return s.set(strings.Join(values, ","), func(f *pflag.Flag) error { return f.Value.(pflag.SliceValue).Replace(values) })
}
