package check

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
)

// source is a policy document: a definition, an initiative, an assignment or an
// exemption.
type source struct {
	id   arm.ID
	typ  arm.Type
	body value.Value
	file string
}

// isPolicyDocument reports whether a document is one of those that policies are
// made of.
func isPolicyDocument(v value.Value) bool { return policyDocumentType(v) != "" }

func policyDocumentType(v value.Value) arm.Type {
	p := find(v, "properties")
	if p.Kind() != value.Object {
		p = v
	}
	has := func(key string) bool { return !find(p, key).IsUndefined() }
	switch {
	case has("policyRule"):
		return assignment.TypeDefinition
	case has("policyDefinitions"):
		return assignment.TypeInitiative
	case has("policyAssignmentId"):
		return assignment.TypeExemption
	case has("policyDefinitionId"):
		return assignment.TypeAssignment
	case has("if") && has("then"):
		return assignment.TypeDefinition
	}
	return ""
}

// readSources reads policy documents from files, folders and .tar.gz archives.
func readSources(names []string) ([]source, error) {
	var all []source
	for _, name := range names {
		if strings.HasSuffix(name, ".tar.gz") || strings.HasSuffix(name, ".tgz") {
			found, err := readArchive(name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, found...)
			continue
		}
		before := len(all)
		err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path != name && !strings.HasSuffix(strings.ToLower(path), ".json") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found, err := parseSources(string(text), path)
			if err != nil && path != name {
				return nil // a folder may hold other things
			}
			all = append(all, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(all) == before {
			return nil, fmt.Errorf("%s holds no policy definition, initiative or assignment", name)
		}
	}
	return all, nil
}

func readArchive(name string) (all []source, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(h.Name, ".json") {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if found, err := parseSources(string(text), h.Name); err == nil {
			all = append(all, found...)
		}
	}
}

// parseSources takes a document, an array of them, or a list that a server gave.
func parseSources(text, file string) ([]source, error) {
	p := value.Parser{KeepDuplicates: true}
	v, err := p.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	list := []value.Value{v}
	if v.Kind() == value.Array {
		list = v.Elems()
	} else if inner := find(v, "value"); inner.Kind() == value.Array && !isPolicyDocument(v) {
		list = inner.Elems()
	}
	var all []source
	for _, v := range list {
		if t := policyDocumentType(v); t != "" {
			all = append(all, newSource(v, t, file))
		}
	}
	return all, nil
}

// newSource brings a document into the shape that the API has: az prints members of
// properties beside name and id.
func newSource(v value.Value, t arm.Type, file string) source {
	if find(v, "properties").Kind() != value.Object {
		inner := v
		if !find(v, "if").IsUndefined() {
			inner = value.FromFields([]value.Field{{Key: "policyRule", Value: v}})
		}
		v = value.FromFields([]value.Field{{Key: "id", Value: text(find(v, "id").Str())}, {Key: "name", Value: text(find(v, "name").Str())}, {Key: "properties", Value: inner}})
	}
	name := find(v, "name").Str()
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		v = v.With("name", text(name))
	}
	s := source{typ: t, body: v, file: file}
	id, err := arm.ParseID(find(v, "id").Str())
	if err != nil || !id.Type().Equal(t) {
		id = scopeOf(v, t).Resource(t, safeName(name))
	}
	s.id = id
	return s
}

// scopeOf is where a document without an id belongs.
func scopeOf(v value.Value, t arm.Type) arm.ID {
	if t != assignment.TypeAssignment && t != assignment.TypeExemption {
		return arm.Tenant
	}
	if scope, err := arm.ParseID(find(find(v, "properties"), "scope").Str()); err == nil {
		return scope
	}
	return everywhere
}

// everywhere is the root of the management groups here: all that is checked lies
// below it.
var everywhere = arm.Tenant.Resource(arm.TypeManagementGroup, "hallmark-policy-check")

func text(s string) value.Value { return value.FromString(s) }

// safeName is a name that may stand in an id.
func safeName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/<>*%&:?\\+#", r) || r < ' ' {
			return '-'
		}
		return r
	}, name)
}

func (s source) json() json.RawMessage { return json.RawMessage(s.body.JSON()) }

// AssignedSubscriptions are those that assignments in files lie in: where one is
// the only one, documents that name none belong there.
func AssignedSubscriptions(files []string) ([]string, error) {
	sources, err := readSources(files)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range sources {
		if id := s.id.Subscription(); s.typ == assignment.TypeAssignment && id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all, nil
}
