// Package library reads policy definitions and initiatives from folders and archives, in
// the layout of Azure/azure-policy, Enterprise Policy as Code or any other: what a JSON file is, is told by what is
// in it. It checks everything and reports all that is wrong at once; it stores nothing
// and asks no endpoint.
//
// An archive is read as it comes and never unpacked; still its paths and sizes are
// checked, because an archive that tries to leave its folder or to fill a disk was not
// made by somebody who means well.
//
// Commands import it.
package library

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// Kind is what an item is.
type Kind string

// The kinds, named like the ARM types.
const (
	Definition Kind = "policyDefinitions"
	Initiative Kind = "policySetDefinitions"
)

// File is a file of a folder or an archive.
type File struct{ Path, Text string }

// Item is one definition or initiative.
type Item struct {
	Kind    Kind
	Name    string
	File    string
	Text    string // the document as JSON text
	BuiltIn bool   // it says that it is one of Azure's
	// Members are the ids of an initiative's definitions, as written.
	Members []string
}

// Problem is something wrong in a file.
type Problem struct {
	File         string
	Line, Column int // 0 where unknown
	Path         string
	Message      string
}

// Error names the place as compilers do.
func (p Problem) Error() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", at, p.Line, p.Column)
	}
	if p.Path != "" {
		return at + ": " + p.Path + ": " + p.Message
	}
	return at + ": " + p.Message
}

// GCPercent is for debug.SetGCPercent while a library is read: nearly all of what is read
// stays, and collecting more often keeps all public definitions below 150 MiB at no
// measurable cost.
const GCPercent = 50

// Read finds the definitions and initiatives among files. Other JSON files are passed
// over. Items come in the order of their kind and name. Unknown aliases are an error,
// but in Azure's own definitions, unless custom says that those, too, are to be stored
// as custom ones.
func Read(files []File, aliases *alias.Table, custom bool) ([]Item, []Problem) {
	r := reading{aliases: aliases, custom: custom, seen: map[string]Item{}}
	for _, f := range files {
		if strings.EqualFold(path.Ext(f.Path), ".json") {
			r.file(f)
		}
	}
	slices.SortFunc(r.items, func(a, b Item) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return r.items, r.problems
}

type reading struct {
	aliases  *alias.Table
	custom   bool
	items    []Item
	seen     map[string]Item // by kind and name
	problems []Problem
}

func (r *reading) file(f File) {
	text := strings.TrimPrefix(f.Text, "\ufeff")
	lower := value.LowerASCII(text)
	if !strings.Contains(lower, `"policyrule"`) && !strings.Contains(lower, `"policydefinitions"`) {
		return
	}
	v, err := value.Parse(text)
	if err != nil {
		r.add(f.Path, err)
		return
	}
	properties := v.Find(value.NewKey("properties"))
	switch {
	case !properties.Find(value.NewKey("policyRule")).IsUndefined():
		r.definition(f.Path, text, v)
	case !properties.Find(value.NewKey("policyDefinitions")).IsUndefined():
		r.initiative(f.Path, text, v)
	}
}

func (r *reading) definition(file, text string, v value.Value) {
	def, err := policy.ParseDefinition(text)
	if err == nil {
		_, err = policy.Compile(def, policy.Options{Aliases: r.aliases, TolerateUnknownAliases: builtIn(def.PolicyType) && !r.custom})
	}
	if err != nil {
		r.add(file, err)
		return
	}
	r.keep(Item{Kind: Definition, Name: nameOf(v, file), File: file, Text: text, BuiltIn: builtIn(def.PolicyType)})
}

func (r *reading) initiative(file, text string, v value.Value) {
	text = byID(text)
	set, err := policy.ParseInitiative(text)
	if err != nil {
		r.add(file, err)
		return
	}
	item := Item{Kind: Initiative, Name: nameOf(v, file), File: file, Text: text, BuiltIn: builtIn(set.PolicyType)}
	for _, m := range set.Members {
		item.Members = append(item.Members, m.DefinitionID)
	}
	r.keep(item)
}

// byID names members by id that Enterprise Policy as Code names by name.
func byID(text string) string {
	if !strings.Contains(text, `"policyDefinitionName"`) {
		return text
	}
	var doc map[string]any
	if json.Unmarshal([]byte(text), &doc) != nil {
		return text
	}
	properties, _ := doc["properties"].(map[string]any)
	members, _ := properties["policyDefinitions"].([]any)
	for _, m := range members {
		m, _ := m.(map[string]any)
		if name, ok := m["policyDefinitionName"].(string); ok && m["policyDefinitionId"] == nil {
			delete(m, "policyDefinitionName")
			m["policyDefinitionId"] = "/providers/Microsoft.Authorization/policyDefinitions/" + name
		}
	}
	changed, err := json.Marshal(doc)
	if err != nil {
		return text
	}
	return string(changed)
}

// keep refuses two files for one name, unless they say the same.
func (r *reading) keep(item Item) {
	key := string(item.Kind) + "/" + strings.ToLower(item.Name)
	before, twice := r.seen[key]
	switch {
	case twice && before.Text == item.Text:
		return
	case twice:
		r.problems = append(r.problems, Problem{File: item.File, Path: "name", Message: fmt.Sprintf("%s has the name %s too, and is different", before.File, item.Name)})
		return
	}
	r.seen[key] = item
	r.items = append(r.items, item)
}

func (r *reading) add(file string, err error) {
	var list policy.Problems
	var syntax *value.SyntaxError
	switch {
	case errors.As(err, &list):
		for _, p := range list {
			r.problems = append(r.problems, Problem{file, p.Line, p.Column, p.Path, p.Message})
		}
	case errors.As(err, &syntax):
		r.problems = append(r.problems, Problem{File: file, Line: syntax.Line, Column: syntax.Column, Message: syntax.Reason})
	default:
		r.problems = append(r.problems, Problem{File: file, Message: err.Error()})
	}
}

// nameOf is the document's name, else the end of its id, else the file's name.
func nameOf(v value.Value, file string) string {
	id := v.Find(value.NewKey("id")).Str()
	stem := strings.TrimSuffix(path.Base(file), path.Ext(file))
	return cmp.Or(v.Find(value.NewKey("name")).Str(), id[strings.LastIndexByte(id, '/')+1:], stem)
}

func builtIn(policyType string) bool {
	return strings.EqualFold(policyType, "BuiltIn") || strings.EqualFold(policyType, "Static")
}
