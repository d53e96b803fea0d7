package check

import (
	"os"
	"path/filepath"
	"sort"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/tfplan"
)

// plan reads a Terraform plan, and the configuration beside it for the lines.
func (r *reader) plan(name string, text []byte) error {
	plan, err := tfplan.Parse(text)
	if err != nil {
		return err
	}
	root := r.options.Source
	if root == "" {
		root = filepath.Dir(name)
	}
	config := &configuration{files: map[string][]configFile{}}
	drafts := map[string]*draft{}
	var order []*draft
	for i := range plan.Resources {
		d, err := plannedDraft(name, root, &plan.Resources[i], config)
		if err != nil {
			return err
		}
		drafts[plan.Resources[i].Address] = d
		order = append(order, d)
	}
	for i := range plan.Resources {
		r.link(&plan.Resources[i], drafts)
	}
	for _, d := range order {
		if err := r.add(d); err != nil {
			return err
		}
	}
	var left []string
	for t := range plan.Untranslated {
		left = append(left, t)
	}
	if sort.Strings(left); len(left) > 0 {
		r.note("%s: resources of these types were not looked at: %s", name, strings.Join(left, ", "))
	}
	return nil
}

func plannedDraft(plan, root string, p *tfplan.Resource, config *configuration) (*draft, error) {
	body, err := value.Parse(string(p.Body))
	if err != nil {
		return nil, err
	}
	d := &draft{body: body, version: p.APIVersion, id: p.ID, group: p.ResourceGroup, names: p.Names, parentID: p.ParentID}
	d.Type, d.Source, d.File, d.Line = arm.Type(p.ARMType), p.Address, plan, 1
	d.Unchanged, d.Untranslated = !p.Change(), p.Untranslated
	d.Unknown.Paths, d.Unknown.Rest = append(d.Unknown.Paths, p.Unknown...), p.Partial
	dir := filepath.Join(root, filepath.FromSlash(p.Directory))
	if file, line := config.find(dir, p, ""); line > 0 {
		d.File, d.Line = file, line
	}
	d.locate = func(address string) (string, int) { return config.find(dir, p, attributeOf(p, address)) }
	return d, nil
}

// attributeOf is the attribute that a path of the document, or the innermost path
// around it, comes from.
func attributeOf(p *tfplan.Resource, address string) string {
	best, attribute := -1, ""
	for path, from := range p.From {
		if len(path) > best && from != "" && covers(path, address) {
			best, attribute = len(path), from
		}
	}
	return attribute
}

// covers reports whether a path is another one, or around it, ignoring indices.
func covers(path, address string) bool {
	inner, outer := segments(address), segments(path)
	if len(outer) > len(inner) {
		return false
	}
	for i, s := range outer {
		if s.index >= 0 != (inner[i].index >= 0) || s.index < 0 && !strings.EqualFold(s.name, inner[i].name) {
			return false
		}
	}
	return true
}

// link fills in ids of resources of the same plan: they are not known before the
// plan is applied, but what they will be is, where the subscription is known.
func (r *reader) link(p *tfplan.Resource, drafts map[string]*draft) {
	d := drafts[p.Address]
	if other, ok := drafts[p.ParentAddress]; ok && d.parentID == "" {
		if probe := *other; probe.place(r.options.Place) || !probe.unknownAt("name") && !probe.GroupUnknown {
			d.parentID = probe.ID.String()
			d.Unknown.Paths = remove(d.Unknown.Paths, "name")
		}
	}
	for _, l := range p.Links {
		other, ok := drafts[l.Address]
		if !ok {
			continue
		}
		if probe := *other; probe.place(r.options.Place) {
			d.body = withPath(d.body, segments(l.Path), value.FromString(probe.ID.String()))
			d.Unknown.Paths = remove(d.Unknown.Paths, l.Hidden)
		}
	}
}

func remove(list []string, item string) []string {
	var kept []string
	for _, s := range list {
		if s != item {
			kept = append(kept, s)
		}
	}
	return kept
}

// withPath is v with a value at a path; objects on the way are made.
func withPath(v value.Value, path []segment, set value.Value) value.Value {
	if len(path) == 0 {
		return set
	}
	s := path[0]
	if s.index >= 0 {
		elems := append([]value.Value(nil), v.Elems()...)
		for len(elems) <= s.index {
			elems = append(elems, value.FromFields(nil))
		}
		elems[s.index] = withPath(elems[s.index], path[1:], set)
		return value.FromSlice(elems)
	}
	if v.Kind() != value.Object {
		v = value.FromFields(nil)
	}
	return v.With(s.name, withPath(find(v, s.name), path[1:], set))
}

// configuration is the text of .tf files, by folder.
type configuration struct{ files map[string][]configFile }

type configFile struct{ name, text string }

func (c *configuration) find(dir string, p *tfplan.Resource, attribute string) (string, int) {
	files, read := c.files[dir]
	if !read {
		names, _ := filepath.Glob(filepath.Join(dir, "*.tf")) // no files, no lines
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil {
				files = append(files, configFile{name, string(text)})
			}
		}
		c.files[dir] = files
	}
	for _, f := range files {
		if line, ok := tfplan.Locate(f.text, p.Type, p.Name, attribute); ok {
			return f.name, line
		}
	}
	return "", 0
}
