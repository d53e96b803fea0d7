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

// compiler reads sets and keeps what it compiled for the next one.
type compiler struct {
	aliases *alias.Table
	rules   map[string]compiled // of the last set
	next    map[string]compiled // of the set being read
}

type compiled struct {
	rule rule
	err  error
}

func newCompiler(aliases *alias.Table) *compiler { return &compiler{aliases: aliases} }

// reading is one set on its way out of the store.
type reading struct {
	*compiler
	tx     store.ReadTx
	set    *Set
	shape  string // of the hierarchy
	bodies map[string][]Version
}

func (c *compiler) read(tx store.ReadTx) (*Set, error) {
	set := &Set{byScope: map[string][]*Assignment{}, byKey: map[string]*Assignment{}, byShort: map[string]*Assignment{}, exemptions: map[string][]*Exemption{}}
	var err error
	if set.Epoch, err = epoch(tx); err != nil {
		return nil, err
	}
	if set.Hierarchy, err = ReadHierarchy(tx); err != nil {
		return nil, err
	}
	c.next = map[string]compiled{}
	r := &reading{compiler: c, tx: tx, set: set, shape: set.Hierarchy.shape(), bodies: map[string][]Version{}}
	if err := r.assignments(); err != nil {
		return nil, err
	}
	if err := r.exemptions(); err != nil {
		return nil, err
	}
	c.rules, c.next = c.next, nil
	return set, nil
}

func (r *reading) assignments() error {
	docs, err := r.tx.List(store.Query{Type: TypeAssignment})
	if err != nil {
		return fmt.Errorf("reading policy assignments: %w", err)
	}
	for _, d := range docs {
		a, err := r.assignment(d)
		if err != nil {
			return err
		}
		r.set.Assignments = append(r.set.Assignments, a)
		r.set.byScope[a.Scope.Key()] = append(r.set.byScope[a.Scope.Key()], a)
		r.set.byKey[d.Key], r.set.byShort[a.Key] = a, a
	}
	return nil
}

// assignment compiles one; what is wrong with it is kept in it. The error is the
// store's.
func (r *reading) assignment(d *store.Document) (*Assignment, error) {
	id := d.ARMID()
	short := sha256.Sum256([]byte(d.Key))
	a := &Assignment{ID: id, Name: id.Name(), Scope: id.Scope(), Location: d.Location, Key: hex.EncodeToString(short[:8])}
	a.IdentityOf, a.Identity = identityOf(id, d.Body)
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
	return a, err
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
	r.compile(a.Units[0], a.Definition, v, a.Spec.Values())
	return nil
}

// pick is the version of a definition that a pattern means.
func (r *reading) pick(id arm.ID, pattern string) (Version, error) {
	all, err := r.versions(id)
	if err != nil {
		return Version{}, err
	}
	v, ok := PickMember(id, all, pattern)
	if !ok {
		return v, &definitionError{fmt.Errorf("%s has no version that fits %q", id, pattern)}
	}
	return v, nil
}

func (r *reading) versions(id arm.ID) ([]Version, error) {
	if known, ok := r.bodies[id.Key()]; ok {
		return known, nil
	}
	d, err := r.tx.Get(id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, &definitionError{fmt.Errorf("the policy definition %s does not exist", id)}
	}
	if err != nil {
		return nil, err
	}
	all := []Version{versionOf(d.Body, d.Revision)}
	kept, err := r.tx.List(store.Query{Prefix: d.Key + "/versions/"})
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		all = append(all, versionOf(k.Body, k.Revision))
	}
	r.bodies[id.Key()] = all
	return all, nil
}

// members makes a unit of each policy of an initiative.
func (r *reading) members(a *Assignment, v Version, digest func(string)) error {
	set, err := policy.ParseInitiative(string(v.Body))
	if err != nil {
		return &definitionError{err}
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
		r.compile(u, id, mv, params)
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

// compile gives a unit its rule, and one for each override of its effect.
func (r *reading) compile(u *Unit, id arm.ID, v Version, params value.Value) {
	u.rule, u.Problem = r.ruleOf(id, v, params, "")
	for _, o := range u.Assignment.Spec.Overrides {
		if !strings.EqualFold(o.Kind, OverrideEffect) || !concerns(o.Selectors, u.ReferenceID) {
			continue
		}
		over, err := r.ruleOf(id, v, params, o.Value)
		if err != nil {
			u.Problem = err
			return
		}
		u.variants = append(u.variants, variant{o.Selectors, over})
	}
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

// ruleOf compiles a definition, or takes what the last set compiled.
func (r *reading) ruleOf(id arm.ID, v Version, params value.Value, effect string) (rule, error) {
	key := fmt.Sprintf("%s\x00%d\x00%s\x00%s", id.Key(), v.Revision, params.AppendSorted(nil), effect)
	if done, ok := r.rules[key]; ok {
		r.next[key] = done
		return done.rule, done.err
	}
	if done, ok := r.next[key]; ok {
		return done.rule, done.err
	}
	made, err := r.compileRule(v.Body, params, effect)
	r.next[key] = compiled{made, err}
	return made, err
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

func (r *reading) exemptions() error {
	docs, err := r.tx.List(store.Query{Type: TypeExemption})
	if err != nil {
		return fmt.Errorf("reading policy exemptions: %w", err)
	}
	for _, d := range docs {
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
			continue // it could not be written; it exempts nothing
		}
		p, id := body.Properties, d.ARMID()
		key := strings.ToLower(p.PolicyAssignmentID)
		r.set.exemptions[key] = append(r.set.exemptions[key], &Exemption{ID: id, Scope: id.Scope(), Category: p.ExemptionCategory,
			Expires: p.ExpiresOn, Owner: arm.GetString(d.Body, "properties.metadata.owner"), Ticket: arm.GetString(d.Body, "properties.metadata.ticket"), refs: p.PolicyDefinitionReferenceIDs, selectors: p.ResourceSelectors})
	}
	return nil
}

// Expired reports whether an exemption's document says that its time is over.
func Expired(body json.RawMessage, now time.Time) bool {
	t, err := time.Parse(time.RFC3339, arm.GetString(body, "properties.expiresOn"))
	return err == nil && !now.Before(t)
}
