package assignment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
)

// compiler reads sets, and keeps what it read and compiled for the next one.
type compiler struct {
	aliases *alias.Table
	rules   map[string]compiled // by what they were made from
	sources map[string]*source  // by the key of the definition or initiative
	entries map[string]*entry   // by the key of the assignment
	users   map[string]map[string]bool
}

type compiled struct {
	rule rule
	err  error
}

// source is a definition or an initiative, as far as it is kept.
type source struct {
	versions []Version // without their bodies
	missing  error
	sets     map[int64]*policy.Initiative // by revision
}

// entry is one assignment, and what it was made from.
type entry struct {
	a     *Assignment
	from  []string // keys of definitions and initiatives, those that are not there too
	rules []string // keys of rules
}

func newCompiler(aliases *alias.Table) *compiler {
	c := &compiler{aliases: aliases, rules: map[string]compiled{}}
	c.forget()
	return c
}

// forget is for what has to be read again; rules stay.
func (c *compiler) forget() {
	c.sources, c.entries, c.users = map[string]*source{}, map[string]*entry{}, map[string]map[string]bool{}
}

// reading is one set on its way out of the store.
type reading struct {
	*compiler
	tx    store.ReadTx
	shape string // of the hierarchy
	entry *entry // of the assignment that is being read
}

// read is the whole set.
func (c *compiler) read(tx store.ReadTx) (*Set, error) {
	set := newSet()
	var err error
	if set.Epoch, err = epoch(tx); err != nil {
		return nil, err
	}
	if set.Hierarchy, err = ReadHierarchy(tx); err != nil {
		return nil, err
	}
	c.forget()
	set.shape = set.Hierarchy.shape()
	r := &reading{compiler: c, tx: tx, shape: set.shape}
	docs, err := tx.List(store.Query{Type: TypeAssignment})
	if err != nil {
		return nil, fmt.Errorf("reading policy assignments: %w", err)
	}
	for _, d := range docs {
		a, err := r.assignment(d)
		if err != nil {
			return nil, err
		}
		set.put(a)
	}
	if docs, err = tx.List(store.Query{Type: TypeExemption}); err != nil {
		return nil, fmt.Errorf("reading policy exemptions: %w", err)
	}
	for _, d := range docs {
		if e := exemption(d); e != nil {
			set.exemptions[e.of] = append(set.exemptions[e.of], e)
		}
	}
	c.sweep()
	return set, nil
}

// sweep forgets rules that no assignment has any more, once they are the most.
func (c *compiler) sweep() {
	live := 0
	for _, e := range c.entries {
		live += len(e.rules)
	}
	if len(c.rules) <= 2*live+100 {
		return
	}
	kept := make(map[string]compiled, live)
	for _, e := range c.entries {
		for _, k := range e.rules {
			kept[k] = c.rules[k]
		}
	}
	c.rules = kept
}

// assignment compiles one; what is wrong with it is kept in it. The error is the
// store's.
func (r *reading) assignment(d *store.Document) (*Assignment, error) {
	id := d.ARMID()
	key := id.Key()
	short := sha256.Sum256([]byte(key))
	a := &Assignment{ID: id, Name: id.Name(), Scope: id.Scope(), Location: d.Location, Key: hex.EncodeToString(short[:8]), docKey: key}
	a.IdentityOf, a.Identity = IdentityOf(id, d.Body)
	r.entry = &entry{a: a}
	digest := sha256.New()
	fmt.Fprintf(digest, "%d\x00", d.Revision)
	if a.Scope.Kind() == arm.KindManagementGroup {
		fmt.Fprintf(digest, "%s\x00", r.shape)
	}
	err := r.fill(a, d, func(what string) { fmt.Fprintf(digest, "%s\x00", what) })
	a.Generation = hex.EncodeToString(digest.Sum(nil)[:6])
	var wrong *definitionError
	if errors.As(err, &wrong) {
		a.Problem, err = err, nil
	}
	r.keep(key, r.entry)
	return a, err
}

// keep notes what an assignment was made from, in place of what it was before; nil: the
// assignment is gone.
func (c *compiler) keep(key string, e *entry) {
	if old := c.entries[key]; old != nil {
		for _, from := range old.from {
			if delete(c.users[from], key); len(c.users[from]) == 0 {
				delete(c.users, from)
			}
		}
		delete(c.entries, key)
	}
	if e == nil {
		return
	}
	c.entries[key] = e
	for _, from := range e.from {
		if c.users[from] == nil {
			c.users[from] = map[string]bool{}
		}
		c.users[from][key] = true
	}
}

// definitionError is a fault of a policy, as opposed to one of the store.
type definitionError struct{ err error }

func (e *definitionError) Error() string { return e.err.Error() }
func (e *definitionError) Unwrap() error { return e.err }

func (r *reading) fill(a *Assignment, d *store.Document, digest func(string)) (err error) {
	if a.Spec, err = ReadSpec(d.Body); err != nil {
		return &definitionError{err}
	}
	a.Enforced = a.Spec.EnforcementMode == "" || strings.EqualFold(a.Spec.EnforcementMode, EnforceDefault)
	for _, n := range a.Spec.NotScopes {
		if id, err := arm.ParseID(n); err == nil {
			a.notScopes = append(a.notScopes, id)
		}
	}
	if a.Definition, err = arm.ParseID(a.Spec.PolicyDefinitionID); err != nil {
		return &definitionError{err}
	}
	v, err := r.pick(a.Definition, a.Spec.DefinitionVersion)
	if err != nil {
		return err
	}
	digest(fmt.Sprint(v.Name, v.Revision))
	a.Initiative = a.Definition.Type().Equal(TypeInitiative)
	if a.Initiative {
		return r.members(a, v, digest)
	}
	a.Units = []*Unit{{Assignment: a, DefinitionID: a.Definition.String(), DefinitionVersion: v.Name}}
	return r.compile(a.Units[0], a.Definition, v, a.Spec.Values())
}

// pick is the version of a definition that a pattern means, without its body.
func (r *reading) pick(id arm.ID, pattern string) (Version, error) {
	from, err := r.source(id)
	if err != nil {
		return Version{}, err
	}
	v, ok := PickMember(id, from.versions, pattern)
	if !ok {
		return v, &definitionError{fmt.Errorf("%s has no version that fits %q", id, pattern)}
	}
	return v, nil
}

// source is what there is of a definition or an initiative.
func (r *reading) source(id arm.ID) (*source, error) {
	key := id.Key()
	if r.entry != nil {
		r.entry.from = append(r.entry.from, key)
	}
	known, ok := r.sources[key]
	if !ok {
		var err error
		if known, err = r.readSource(id, key); err != nil {
			return nil, err
		}
		r.sources[key] = known
	}
	return known, known.missing
}

func (r *reading) readSource(id arm.ID, key string) (*source, error) {
	d, err := r.tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return &source{missing: &definitionError{fmt.Errorf("the policy definition %s does not exist", id)}}, nil
	}
	if err != nil {
		return nil, err
	}
	known := &source{versions: []Version{versionOf(d)}, sets: map[int64]*policy.Initiative{}}
	kept, err := r.tx.List(store.Query{Prefix: d.Key + versionsBelow})
	for _, k := range kept {
		known.versions = append(known.versions, versionOf(k))
	}
	return known, err
}

// body is the text of a version. It may be newer than the version says, if it was
// written since that was read: what is made of it then must not be kept.
func (r *reading) body(v Version) (text json.RawMessage, same bool, err error) {
	d, err := r.tx.Get(v.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, &definitionError{fmt.Errorf("the policy definition %s does not exist", v.key)}
	}
	if err != nil {
		return nil, false, err
	}
	return d.Body, d.Revision == v.Revision, nil
}

// initiative is a parsed version of an initiative.
func (r *reading) initiative(id arm.ID, v Version) (*policy.Initiative, error) {
	from := r.sources[id.Key()]
	if set := from.sets[v.Revision]; set != nil {
		return set, nil
	}
	text, same, err := r.body(v)
	if err != nil {
		return nil, err
	}
	set, err := policy.ParseInitiative(string(text))
	if err != nil {
		return nil, &definitionError{err}
	}
	if same {
		from.sets[v.Revision] = set
	}
	return set, nil
}

// members makes a unit of each policy of an initiative.
func (r *reading) members(a *Assignment, v Version, digest func(string)) error {
	set, err := r.initiative(a.Definition, v)
	if err != nil {
		return err
	}
	values := a.Spec.Values()
	for i, m := range set.Members {
		u := &Unit{Assignment: a, Index: i, ReferenceID: m.ReferenceID, DefinitionID: m.DefinitionID, Groups: m.Groups}
		a.Units = append(a.Units, u)
		mv, id, err := r.member(a, m)
		var wrong *definitionError
		if err != nil && !errors.As(err, &wrong) {
			return err
		}
		digest(fmt.Sprint(m.DefinitionID, mv.Name, mv.Revision))
		if err != nil {
			u.Problem = err
			continue
		}
		u.DefinitionVersion = mv.Name
		params, err := set.MemberParameters(m, values)
		if err != nil {
			u.Problem = err
			continue
		}
		if err := r.compile(u, id, mv, params); err != nil {
			return err
		}
	}
	return nil
}

// member finds a member's definition in the version that it, or an override, asks
// for.
func (r *reading) member(a *Assignment, m policy.Member) (Version, arm.ID, error) {
	id, err := arm.ParseID(m.DefinitionID)
	if err != nil {
		return Version{}, id, &definitionError{err}
	}
	v, err := r.pick(id, a.Spec.versionOf(m))
	return v, id, err
}

// compile gives a unit its rule, and one for each override of its effect. The error is
// the store's.
func (r *reading) compile(u *Unit, id arm.ID, v Version, params value.Value) error {
	made, err := r.ruleOf(id, v, params, "")
	if err != nil {
		return err
	}
	u.rule, u.Problem = made.rule, made.err
	for _, o := range u.Assignment.Spec.Overrides {
		if !strings.EqualFold(o.Kind, OverrideEffect) || !concerns(o.Selectors, u.ReferenceID) {
			continue
		}
		over, err := r.ruleOf(id, v, params, o.Value)
		if err != nil {
			return err
		}
		if over.err != nil {
			u.Problem = over.err
			return nil
		}
		u.variants = append(u.variants, variant{o.Selectors, over.rule})
	}
	return nil
}

// concerns reports whether selectors let a policy through, whatever the resource.
func concerns(all []Selector, ref string) bool {
	for _, s := range all {
		if strings.EqualFold(s.Kind, "policyDefinitionReferenceId") && !s.holds(target{ref: ref}) {
			return false
		}
	}
	return true
}

// ruleOf compiles a definition, or takes what has been compiled. The error is the store's.
func (r *reading) ruleOf(id arm.ID, v Version, params value.Value, effect string) (compiled, error) {
	key := fmt.Sprintf("%s\x00%d\x00%s\x00%s", id.Key(), v.Revision, params.AppendSorted(nil), effect)
	done, ok := r.rules[key]
	if !ok {
		text, same, err := r.body(v)
		var wrong *definitionError
		if err != nil && !errors.As(err, &wrong) {
			return compiled{}, err
		}
		if done = (compiled{err: err}); err == nil {
			done.rule, done.err = r.compileRule(text, params, effect)
		}
		if !same {
			return done, nil
		}
		r.rules[key] = done
	}
	r.entry.rules = append(r.entry.rules, key)
	return done, nil
}

func (c *compiler) compileRule(body json.RawMessage, params value.Value, effect string) (rule, error) {
	text := string(body)
	def, err := policy.ParseDefinition(text)
	if err != nil {
		return rule{}, err
	}
	if effect != "" {
		changed := *def
		changed.Effect = effect
		def = &changed
	}
	p, err := policy.Compile(def, policy.Options{Aliases: c.aliases, TolerateUnknownAliases: true, Parameters: params})
	if err != nil {
		return rule{}, err
	}
	return analyse(p, def, text, params), nil
}

var parameterEffect = regexp.MustCompile(`(?i)^\[\s*parameters\(\s*'([^']+)'\s*\)\s*\]$`)

// effectOf is the effect that a definition has with these parameters, "" if only an
// evaluation tells.
func effectOf(def *policy.Definition, params value.Value) string {
	if !expr.IsExpression(def.Effect) {
		return def.Effect
	}
	return literal(def, params, def.Effect)
}

// literal is the text of an expression that only reads a parameter.
func literal(def *policy.Definition, params value.Value, text string) string {
	if !expr.IsExpression(text) {
		return text
	}
	m := parameterEffect.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	if v := params.Find(value.NewKey(m[1])); v.Kind() == value.String {
		return v.Str()
	}
	p, _ := def.ParameterNamed(m[1])
	return p.Default.Str()
}

// lookFor notes which related resources the rule asks for.
func (r *rule) lookFor(def *policy.Definition) {
	family := policy.EffectNamed(r.effect)
	typ := def.Details.Find(value.NewKey("type"))
	r.needsRelated = typ.Kind() == value.String && (r.effect == "" || family == policy.AuditIfNotExists || family == policy.DeployIfNotExists)
	for _, key := range []string{"existenceScope", "resourceGroupName"} {
		r.beyond = r.beyond || !def.Details.Find(value.NewKey(key)).IsNothing()
	}
	if r.needsRelated && !expr.IsExpression(typ.Str()) {
		r.related = strings.ToLower(canonicalType(typ.Str()))
	}
}

// exemption reads one; nil if it cannot be read: it exempts nothing.
func exemption(d *store.Document) *Exemption {
	var body struct {
		Properties struct {
			PolicyAssignmentID           string
			PolicyDefinitionReferenceIDs []string
			ExemptionCategory            string
			ExpiresOn                    time.Time
			ResourceSelectors            []Selectors
		}
	}
	if err := json.Unmarshal(d.Body, &body); err != nil {
		return nil
	}
	p, id := body.Properties, d.ARMID()
	return &Exemption{ID: id, Scope: id.Scope(), Category: p.ExemptionCategory, Expires: p.ExpiresOn,
		Owner: arm.GetString(d.Body, "properties.metadata.owner"), Ticket: arm.GetString(d.Body, "properties.metadata.ticket"),
		refs: p.PolicyDefinitionReferenceIDs, selectors: p.ResourceSelectors, docKey: d.Key, of: strings.ToLower(p.PolicyAssignmentID)}
}

// Expired reports whether an exemption's document says that its time is over.
func Expired(body json.RawMessage, now time.Time) bool {
	t, err := time.Parse(time.RFC3339, arm.GetString(body, "properties.expiresOn"))
	return err == nil && !now.Before(t)
}
