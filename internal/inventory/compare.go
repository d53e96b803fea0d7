package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is one difference between two images.
type Change struct {
	Kind   string `json:"kind"`   // fact, kernel, package or file
	Name   string `json:"name"`   // of the fact, the package (with its architecture), or the path
	Change string `json:"change"` // added, removed or changed
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	// What says what of a file has changed: type, content, mode, owner, target.
	What []string `json:"what,omitempty"`
}

// Compare lists what differs, in the order facts, kernels, packages, files, each
// by name. It is empty when nothing does.
func Compare(from, to Inventory) []Change {
	changes := compareValues("fact", facts(from), facts(to))
	changes = append(changes, compareValues("kernel", set(from.Kernels), set(to.Kernels))...)
	changes = append(changes, compareValues("package", versions(from.Packages), versions(to.Packages))...)
	return append(changes, compareFiles(from.Files, to.Files)...)
}

func facts(v Inventory) map[string]string {
	out := map[string]string{"kernel": v.Kernel, "packageManager": v.PackageManager}
	if v.UsedBytes > 0 {
		out["usedBytes"] = fmt.Sprint(v.UsedBytes)
	}
	for name, value := range v.Tattoo {
		out["tattoo."+name] = value
	}
	for _, name := range []string{"ID", "VERSION_ID", "PRETTY_NAME"} {
		out["os."+name] = v.OSRelease[name]
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func set(names []string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		out[name] = name
	}
	return out
}

// versions joins what is installed more than once under one name and architecture.
func versions(packages []Package) map[string]string {
	out := map[string]string{}
	for _, p := range packages {
		name := p.Name
		if p.Architecture != "" && p.Architecture != "all" {
			name += ":" + p.Architecture
		}
		out[name] = strings.TrimPrefix(out[name]+", "+p.Version, ", ")
	}
	return out
}

func compareValues(kind string, from, to map[string]string) []Change {
	var out []Change
	for name, old := range from {
		now, ok := to[name]
		switch {
		case !ok:
			out = append(out, Change{Kind: kind, Name: name, Change: "removed", From: old})
		case now != old:
			out = append(out, Change{Kind: kind, Name: name, Change: "changed", From: old, To: now})
		}
	}
	for name, now := range to {
		if _, ok := from[name]; !ok {
			out = append(out, Change{Kind: kind, Name: name, Change: "added", To: now})
		}
	}
	return sorted(out)
}

func compareFiles(from, to []File) []Change {
	before := map[string]File{}
	for _, f := range from {
		before[f.Path] = f
	}
	var out []Change
	for _, now := range to {
		old, ok := before[now.Path]
		delete(before, now.Path)
		if !ok {
			out = append(out, Change{Kind: "file", Name: now.Path, Change: "added", To: now.short()})
			continue
		}
		if what := old.differs(now); len(what) > 0 {
			out = append(out, Change{Kind: "file", Name: now.Path, Change: "changed", From: old.short(), To: now.short(), What: what})
		}
	}
	for _, old := range before {
		out = append(out, Change{Kind: "file", Name: old.Path, Change: "removed", From: old.short()})
	}
	return sorted(out)
}

func (f File) differs(g File) []string {
	if f.Type != g.Type {
		return []string{"type"}
	}
	var what []string
	for name, differs := range map[string]bool{
		"content": f.Digest != g.Digest, "mode": f.Mode != g.Mode, "owner": f.UID != g.UID || f.GID != g.GID, "target": f.Target != g.Target,
	} {
		if differs {
			what = append(what, name)
		}
	}
	slices.Sort(what)
	return what
}

// short is a file on one line: type, mode, owner, and its content's name.
func (f File) short() string {
	content := f.Target
	if f.Digest != "" {
		hex := strings.TrimPrefix(f.Digest, "sha256:")
		content = hex[:min(len(hex), 12)]
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %d:%d %s", f.Type, f.Mode, f.UID, f.GID, content)), " ")
}

func sorted(changes []Change) []Change {
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return changes
}
