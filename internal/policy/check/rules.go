package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// Policies say which rules there are.
type Policies struct {
	// Files are files, folders and .tar.gz archives. What they define and nothing
	// assigns counts as assigned everywhere.
	Files []string
	// Library are the same, but used only where something refers to them: Azure's
	// public definitions, for instance.
	Library []string
	// Server are documents that a server gave.
	Server []json.RawMessage
	// Parameters are values for what is not assigned, by name.
	Parameters value.Value
	// Subscriptions are those of the documents that will be checked.
	Subscriptions []string
	Aliases       *alias.Table
}

// Rules are the policies of one check.
type Rules struct {
	set       *assignment.Set
	forecasts map[*policy.Program]*policy.Forecast
	names     map[string]string // display names by the key of a definition's id
}

// Load reads the policies. Those that are broken are no error: they are findings.
func Load(ctx context.Context, p Policies) (*Rules, error) {
	own, err := readSources(p.Files)
	if err != nil {
		return nil, err
	}
	for _, body := range p.Server {
		found, err := parseSources(string(body), "")
		if err != nil {
			return nil, err
		}
		own = append(own, found...)
	}
	library, err := readSources(p.Library)
	if err != nil {
		return nil, err
	}
	l := &loader{known: map[string]source{}, library: library, subscriptions: p.Subscriptions}
	l.add(own...)
	l.complete()
	l.assignRest(own, p.Parameters)
	s := mem.New()
	defer s.Close()
	if err := l.store(ctx, s); err != nil {
		return nil, err
	}
	set, err := assignment.New(s, p.Aliases).Current(ctx)
	if err != nil {
		return nil, err
	}
	return &Rules{set: set, forecasts: map[*policy.Program]*policy.Forecast{}, names: l.displayNames()}, nil
}

// loader collects the documents that make up the rules.
type loader struct {
	known   map[string]source // by the id's key
	order   []string
	library []source
	used    map[string]bool // definitions that something refers to

	subscriptions []string
}

func (l *loader) add(all ...source) {
	for _, s := range all {
		if _, twice := l.known[s.id.Key()]; !twice {
			l.order = append(l.order, s.id.Key())
		}
		l.known[s.id.Key()] = s
	}
}

// references are the definitions that a document names.
func references(s source) []string {
	p := find(s.body, "properties")
	switch s.typ {
	case assignment.TypeAssignment:
		return []string{find(p, "policyDefinitionId").Str()}
	case assignment.TypeInitiative:
		var all []string
		for _, m := range find(p, "policyDefinitions").Elems() {
			all = append(all, find(m, "policyDefinitionId").Str())
		}
		return all
	}
	return nil
}

// complete brings in what is referred to. In files a definition often has no id, or
// the one of another scope: then its name has to do.
func (l *loader) complete() {
	l.used = map[string]bool{}
	for i := 0; i < len(l.order); i++ { // order grows
		for _, ref := range references(l.known[l.order[i]]) {
			id, err := arm.ParseID(ref)
			if err != nil {
				continue // compiling says so
			}
			l.used[id.Key()] = true
			if _, ok := l.known[id.Key()]; ok {
				continue
			}
			if s, ok := l.named(id); ok {
				l.used[s.id.Key()] = true
				s.id = id
				l.add(s)
			}
		}
	}
}

func (l *loader) named(id arm.ID) (source, bool) {
	fits := func(s source) bool { return s.typ.Equal(id.Type()) && strings.EqualFold(s.id.Name(), id.Name()) }
	for _, key := range l.order {
		if s := l.known[key]; fits(s) {
			return s, true
		}
	}
	for _, s := range l.library {
		if fits(s) {
			return s, true
		}
	}
	return source{}, false
}

// assignRest assigns what files define and nothing refers to.
func (l *loader) assignRest(own []source, parameters value.Value) {
	for _, s := range own {
		if s.typ != assignment.TypeDefinition && s.typ != assignment.TypeInitiative || l.used[s.id.Key()] {
			continue
		}
		p := find(s.body, "properties")
		fields := []value.Field{{Key: "policyDefinitionId", Value: text(s.id.String())}, {Key: "displayName", Value: find(p, "displayName")},
			{Key: "parameters", Value: declared(find(p, "parameters"), parameters)}}
		fields = slices.DeleteFunc(fields, func(f value.Field) bool { return f.Value.IsUndefined() })
		l.add(source{id: everywhere.Resource(assignment.TypeAssignment, s.id.Name()), typ: assignment.TypeAssignment, file: s.file,
			body: value.FromFields([]value.Field{{Key: "properties", Value: value.FromFields(fields)}})})
	}
}

// declared are the values of the parameters that a definition declares.
func declared(parameters, values value.Value) value.Value {
	var fields []value.Field
	for i := range parameters.Len() {
		if v := find(values, parameters.Key(i)); !v.IsUndefined() {
			fields = append(fields, value.Field{Key: parameters.Key(i), Value: value.FromFields([]value.Field{{Key: "value", Value: v}})})
		}
	}
	return value.FromFields(fields)
}

// store writes the documents, and the management groups that their scopes name:
// each of those is taken to be above all that is checked.
func (l *loader) store(ctx context.Context, s store.Store) error {
	return s.Update(ctx, func(tx store.Tx) error {
		parent := arm.ID{}
		for _, group := range l.managementGroups() {
			body := "{}"
			if !parent.IsRoot() {
				body = fmt.Sprintf(`{"properties":{"details":{"parent":{"id":%q}}}}`, parent.String())
			}
			if err := tx.Put(&store.Document{ID: group.String(), Type: arm.TypeManagementGroup, Body: json.RawMessage(body)}, store.Any); err != nil {
				return err
			}
			parent = group
		}
		for _, name := range l.subscriptions {
			member := parent.Child("subscriptions", name)
			if err := tx.Put(&store.Document{ID: member.String(), Type: assignment.TypeMember, Body: json.RawMessage("{}")}, store.Any); err != nil {
				return err
			}
		}
		for _, key := range l.order {
			d := l.known[key]
			if err := tx.Put(&store.Document{ID: d.id.String(), Type: d.typ, SubscriptionID: d.id.Subscription(), Body: d.json()}, store.Any); err != nil {
				return fmt.Errorf("%s: %w", d.file, err)
			}
		}
		return assignment.Touch(tx)
	})
}

func (l *loader) managementGroups() []arm.ID {
	groups := []arm.ID{everywhere}
	for _, key := range l.order {
		s := l.known[key]
		if scope := s.id.Scope(); s.typ == assignment.TypeAssignment && scope.Kind() == arm.KindManagementGroup && !slices.ContainsFunc(groups, scope.Equal) {
			groups = append(groups, scope)
		}
	}
	return groups
}

// displayNames are what people call the definitions.
func (l *loader) displayNames() map[string]string {
	names := map[string]string{}
	for key, s := range l.known {
		if name := find(find(s.body, "properties"), "displayName").Str(); name != "" {
			names[key] = name
		}
	}
	return names
}

// Assignments are how many are in force, for people to see what a check covered.
func (r *Rules) Assignments() int { return len(r.set.Assignments) }
