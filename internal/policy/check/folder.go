package check

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/template"
)

// Options say how files are read.
type Options struct {
	Place Place
	// Parameters are a template's parameters by name, plain values.
	Parameters value.Value
	// Source is where the .tf files of plans are; "": beside the plan.
	Source string
	// Location is that of the resource group, for templates that ask for it; "":
	// unknown.
	Location string
}

// Input is what was found in files.
type Input struct {
	Documents []*Document
	// Notes say what was not looked at, and why.
	Notes []string
}

// reader collects documents.
type reader struct {
	options Options
	input   Input
}

// Read reads files and folders. A file that was named must hold something to check;
// in folders, files that hold something else are left out.
func Read(names []string, o Options) (*Input, error) {
	r := &reader{options: o}
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				if base := entry.Name(); path != name && (base == ".terraform" || base == ".git" || base == "node_modules") {
					return filepath.SkipDir
				}
				return nil
			case path != name && !strings.HasSuffix(strings.ToLower(path), ".json"):
				return nil
			}
			return r.file(path, path == name)
		})
		if err != nil {
			return nil, err
		}
	}
	return &r.input, nil
}

// kindOfFile tells what a JSON file is.
type kindOfFile int

const (
	isOther kindOfFile = iota
	isPlan
	isTemplate
	isParameters
	isPolicy
	isResources
)

func kindOf(v value.Value) kindOfFile {
	schema := value.LowerASCII(find(v, "$schema").Str())
	switch {
	case v.Kind() == value.Array:
		return kindOfList(v)
	case v.Kind() != value.Object:
		return isOther
	case !find(v, "format_version").IsUndefined():
		return isPlan
	case strings.Contains(schema, "deploymentparameters.json"):
		return isParameters
	case strings.Contains(schema, "deploymenttemplate.json"):
		return isTemplate
	case isPolicyDocument(v):
		return isPolicy
	case find(v, "value").Kind() == value.Array:
		return kindOfList(find(v, "value"))
	case resourceType(v) != "":
		return isResources
	}
	return isOther
}

func kindOfList(list value.Value) kindOfFile {
	for _, e := range list.Elems() {
		if k := kindOf(e); k != isOther {
			return k
		}
	}
	return isOther
}

func find(v value.Value, key string) value.Value { return v.Find(value.NewKey(key)) }

// resourceType is the type that a document gives, or that its id names.
func resourceType(v value.Value) string {
	if t := find(v, "type").Str(); strings.Contains(t, "/") && strings.Contains(t, ".") {
		return t
	}
	id, err := arm.ParseID(find(v, "id").Str())
	if err != nil || id.Kind() < arm.KindSubscription {
		return ""
	}
	return string(id.Type())
}

func (r *reader) file(name string, asked bool) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	// Templates may have comments, and so may what stands beside them.
	clean := template.Clean(string(text))
	v, err := value.Parse(clean)
	if err != nil {
		if !asked {
			r.note("%s was not looked at: it is not JSON: %v", name, err)
			return nil
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	switch kindOf(v) {
	case isPlan:
		return r.plan(name, text)
	case isTemplate:
		return r.template(name, string(text), asked)
	case isResources:
		return r.resources(name, clean, v)
	}
	if asked {
		return fmt.Errorf("%s is no ARM template, no Terraform plan (terraform show -json), and no resource document: there is nothing to check", name)
	}
	return nil
}

func (r *reader) note(format string, args ...any) {
	r.input.Notes = append(r.input.Notes, fmt.Sprintf(format, args...))
}

func (r *reader) add(d *draft) error {
	doc, err := d.finish(r.options.Place)
	if err == nil {
		r.input.Documents = append(r.input.Documents, doc)
	}
	return err
}

// resources reads one document, an array of them, or {"value": [...]}.
func (r *reader) resources(name, text string, v value.Value) error {
	if list := find(v, "value"); list.Kind() == value.Array && resourceType(v) == "" {
		v = list
	}
	list := []value.Value{v}
	if v.Kind() == value.Array {
		list = v.Elems()
	}
	for i, v := range list {
		t := resourceType(v)
		if t == "" {
			r.note("%s: element %d was not looked at: it has no type", name, i)
			continue
		}
		line, _ := value.Position(text, v.Pos())
		d := &draft{body: v, id: find(v, "id").Str(), version: find(v, "apiVersion").Str(), names: namesOf(find(v, "name").Str(), t)}
		d.Type, d.File, d.Line = arm.Type(t), name, line
		if d.Type.Equal("Microsoft.Resources/subscriptions/resourceGroups") {
			d.Type = arm.TypeResourceGroup
		}
		d.Source = strings.TrimSuffix(t+" "+find(v, "name").Str(), " ")
		d.locate = func(address string) (string, int) { return name, lineIn(text, v, address) }
		if err := r.add(d); err != nil {
			return err
		}
	}
	return nil
}

// namesOf splits the name of a child; a child may be named by its last part only.
func namesOf(name, t string) []string {
	if name == "" {
		return nil
	}
	parts := strings.Split(name, "/")
	if levels := strings.Count(t, "/"); len(parts) > levels {
		parts = parts[len(parts)-levels:]
	}
	return parts
}

// lineIn is the line of a path in a value of a text, or of the innermost part of the
// path that is there; 0 if there is none.
func lineIn(text string, v value.Value, address string) int {
	at, found := v, 0
	for _, s := range segments(address) {
		next := value.Value{}
		if s.index >= 0 {
			next = at.At(min(s.index, max(at.Len()-1, 0)))
			if at.Kind() != value.Array || at.Len() == 0 {
				break
			}
		} else if at.Kind() == value.Object {
			for i := range at.Len() {
				if value.EqualASCII(at.Key(i), s.name) {
					next = at.At(i)
					found, _ = value.Position(text, at.KeyPos(i))
				}
			}
		}
		if next.IsUndefined() {
			break
		}
		if s.index >= 0 {
			found, _ = value.Position(text, next.Pos())
		}
		at = next
	}
	return found
}

type segment struct {
	name  string
	index int // -1: a name
}

// segments splits a.b[0].c, tags['x'] and a[*].b; [*] is the first element.
func segments(address string) []segment {
	var all []segment
	for rest := address; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "['"):
			name, after, _ := strings.Cut(rest[2:], "']")
			all, rest = append(all, segment{name, -1}), after
		case rest[0] == '[':
			inside, after, _ := strings.Cut(rest[1:], "]")
			n := 0
			if _, err := fmt.Sscan(inside, &n); err != nil || n < 0 {
				n = 0
			}
			all, rest = append(all, segment{index: n}), after
		case rest[0] == '.':
			rest = rest[1:]
		default:
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			all, rest = append(all, segment{rest[:end], -1}), rest[end:]
		}
	}
	return all
}
