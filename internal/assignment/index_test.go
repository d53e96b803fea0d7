package assignment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

var noAliases = alias.New()

// dump is everything that a set says, in lines.
func dump(t *testing.T, s *Set, tx store.ReadTx) (lines []string) {
	t.Helper()
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("epoch %d", s.Epoch)
	world := &World{Tx: tx, Now: time.Unix(0, 0)}
	subject, err := world.Subject(document(testSubscription+"/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m", `{"location":"l","tags":{"t1":"x"}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Assignments {
		add("%s %s %s %v %v %s %s %v", a.ID, a.Scope, a.Definition, a.Initiative, a.Enforced, a.Key, a.Generation, a.Problem)
		if s.Assignment(a.ID.String()) != a || s.Named(a.Key) != a {
			add("  cannot be found")
		}
		for _, u := range a.Units {
			add("  %d %s %s %s %v %v %v", u.Index, u.ReferenceID, u.DefinitionID, u.DefinitionVersion, u.Problem, u.Effect("", ""), len(u.variants))
			if u.Assignment != a {
				add("  belongs to another assignment")
			}
			if u.Problem == nil {
				v, _, err := u.Evaluate(subject)
				add("    %v %v %v", v.State, v.Effect, err)
			}
		}
		for _, e := range s.Exemptions(a) {
			add("  exempt %s %s %v", e.ID, e.Category, e.refs)
		}
	}
	for _, at := range []string{testSubscription, testSubscription + "/resourceGroups/g", subject.ID.String(), "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/x"} {
		id, err := arm.ParseID(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range s.At(id) {
			add("at %s: %s", at, a.ID)
		}
	}
	for of, all := range s.exemptions {
		if len(all) == 0 {
			add("an empty list for %s", of)
		}
	}
	return lines
}

// chance makes random changes of policies.
type chance struct {
	*rand.Rand
	db *mem.Store
}

func (c *chance) pick(all ...string) string { return all[c.IntN(len(all))] }
func (c *chance) name(kind string, n int) string {
	return fmt.Sprintf("%s%d", kind, c.IntN(n))
}

func (c *chance) definition() string {
	effect := c.pick("Audit", "Deny", "[parameters('effect')]", "[nonsense(")
	return fmt.Sprintf(`{"properties":{"version":%q,"parameters":{"effect":{"type":"String","defaultValue":%q}},
		"policyRule":{"if":{"allOf":[{"field":"type","equals":%q},{"field":"tags['t1']","equals":%q}]},"then":{"effect":%q}}}}`,
		c.pick("1.0.0", "1.1.0", "2.0.0"), c.pick("Audit", "Deny"), c.pick("Microsoft.Compute/virtualMachines", "Microsoft.Compute/disks"), c.pick("x", "y"), effect)
}

func (c *chance) initiative() string {
	var members []string
	for i := range c.IntN(4) {
		members = append(members, fmt.Sprintf(`{"policyDefinitionId":%q,"policyDefinitionReferenceId":"r%d","definitionVersion":%q,"parameters":{"effect":{"value":%q}}}`,
			policyID("policyDefinitions", c.name("d", 6)), i, c.pick("1.*.*", "2.*.*", ""), c.pick("Audit", "Deny", "[parameters('e')]")))
	}
	return `{"properties":{"version":"` + c.pick("1.0.0", "1.2.0") + `","parameters":{"e":{"type":"String","defaultValue":"Audit"}},"policyDefinitions":[` + strings.Join(members, ",") + `]}}`
}

func (c *chance) assignment() *store.Document {
	scope := c.pick(testSubscription, testSubscription+"/resourceGroups/g", "/providers/Microsoft.Management/managementGroups/g1")
	what := c.pick(policyID("policyDefinitions", c.name("d", 7)), policyID("policySetDefinitions", c.name("s", 4)))
	more := c.pick("", `,"enforcementMode":"DoNotEnforce"`, `,"notScopes":["`+testSubscription+`/resourceGroups/g"]`, `,"definitionVersion":"1.*.*"`,
		`,"overrides":[{"kind":"policyEffect","value":"Disabled","selectors":[{"kind":"policyDefinitionReferenceId","in":["r1"]}]}]`)
	return document(scope+"/providers/Microsoft.Authorization/policyAssignments/"+c.name("a", 5), fmt.Sprintf(`{"properties":{"policyDefinitionId":%q%s}}`, what, more))
}

func (c *chance) document() *store.Document {
	switch c.IntN(12) {
	case 0, 1, 2:
		return document(policyID("policyDefinitions", c.name("d", 6)), c.definition())
	case 3:
		return document(policyID("policyDefinitions", c.name("d", 6))+"/versions/"+c.pick("1.0.0", "1.1.0"), c.definition())
	case 4, 5:
		return document(policyID("policySetDefinitions", c.name("s", 4)), c.initiative())
	case 6, 7, 8:
		return c.assignment()
	case 9, 10:
		return document(testSubscription+"/providers/Microsoft.Authorization/policyExemptions/"+c.name("e", 4),
			fmt.Sprintf(`{"properties":{"policyAssignmentId":%q,"exemptionCategory":%q}}`, c.assignment().ID, c.pick("Waiver", "Mitigated")))
	}
	return document("/providers/Microsoft.Management/managementGroups/"+c.pick("root", "g1")+c.pick("", "/subscriptions/00000000-0000-0000-0000-000000000001"),
		`{"properties":{"details":{"parent":{"id":"`+c.pick("", "/providers/Microsoft.Management/managementGroups/root")+`"}}}}`)
}

// change makes a few changes in one transaction; now and then it leaves the epoch as it
// is, as deleting the resource under an assignment does.
func (c *chance) change(t *testing.T) {
	t.Helper()
	touch := c.IntN(8) > 0
	err := c.db.Update(t.Context(), func(tx store.Tx) error {
		for range 1 + c.IntN(3) {
			d := c.document()
			if c.IntN(4) > 0 {
				if err := tx.Put(d, store.Any); err != nil {
					return err
				}
			} else if err := tx.Delete(strings.ToLower(d.ID), store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if touch {
			return Touch(tx)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An index that followed any changes says what one says that reads everything.
func TestIndexFollowsAnyChanges(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for seed := range rounds {
		c := &chance{rand.New(rand.NewPCG(uint64(seed), 1)), mem.New()}
		x := New(c.db, noAliases)
		for step := range 60 {
			for range 1 + c.IntN(2) {
				c.change(t)
			}
			set, err := x.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := New(c.db, noAliases).Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			err = c.db.View(t.Context(), func(tx store.ReadTx) error {
				got, want = dump(t, set, tx), dump(t, fresh, tx)
				return nil
			})
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Fatalf("seed %d, step %d: %v\n%s", seed, step, err, d)
			}
		}
		if most := 2*len(x.cache.entries)*4 + 100; len(x.cache.rules) > most || len(x.cache.sources) > len(x.cache.users) {
			t.Errorf("seed %d: %d rules and %d sources are kept for %d assignments", seed, len(x.cache.rules), len(x.cache.sources), len(x.cache.entries))
		}
	}
}

// counting counts the documents that are read.
type counting struct {
	store.Store
	read int
}

func (c *counting) View(ctx context.Context, f func(tx store.ReadTx) error) error {
	return c.Store.View(ctx, func(tx store.ReadTx) error { return f(&countingTx{tx, c}) })
}

type countingTx struct {
	store.ReadTx
	c *counting
}

func (c *countingTx) Get(key string) (*store.Document, error) {
	c.c.read++
	return c.ReadTx.Get(key)
}

func (c *countingTx) List(q store.Query) ([]*store.Document, error) {
	docs, err := c.ReadTx.List(q)
	c.c.read += len(docs)
	return docs, err
}

func TestIndexReadsWhatChanged(t *testing.T) {
	db := &counting{Store: mem.New()}
	docs := []*store.Document{initiative(0, 50), assigned("set", "policySetDefinitions", "s000")}
	for i := range 200 {
		docs = append(docs, definition(i, 0))
	}
	for i := range 60 {
		docs = append(docs, assigned(fmt.Sprintf("a%d", i), "policyDefinitions", fmt.Sprintf("d%04d", 60+i)))
	}
	write(t, db, docs...)
	x := New(db, noAliases)
	for name, test := range map[string]struct {
		doc  *store.Document
		most int
	}{
		"a definition that nobody assigned":  {definition(199, 1), 1}, // the epoch
		"a definition that is assigned":      {definition(70, 1), 4},  // and the assignment, the definition for its version and for its rule
		"a definition of an initiative":      {definition(7, 1), 4},   // the same: initiatives are kept parsed
		"an assignment":                      {assigned("a1", "policyDefinitions", "d0061"), 2},
		"an exemption":                       {document(testSubscription+"/providers/Microsoft.Authorization/policyExemptions/e", `{"properties":{"policyAssignmentId":"`+policyID("policyAssignments", "a1")+`"}}`), 2},
		"nothing that has to do with policy": {document(testSubscription+"/resourceGroups/g", `{}`), 0},
	} {
		if _, err := x.Current(t.Context()); err != nil {
			t.Fatal(err)
		}
		if test.most == 0 {
			err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put(test.doc, store.Any) })
			if err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, db, test.doc)
		}
		db.read = 0
		if _, err := x.Current(t.Context()); err != nil {
			t.Fatal(err)
		}
		if db.read > test.most {
			t.Errorf("%s: %d documents were read, want at most %d", name, db.read, test.most)
		}
	}
}

// interposed lets something happen right before a state is read.
type interposed struct {
	store.Store
	before func()
}

func (i *interposed) View(ctx context.Context, f func(tx store.ReadTx) error) error {
	if before := i.before; before != nil {
		i.before = nil
		before()
	}
	return i.Store.View(ctx, f)
}

func versionsSeen(set *Set) (all []string) {
	for _, a := range set.Assignments {
		for _, u := range a.Units {
			all = append(all, u.DefinitionVersion)
		}
	}
	return all
}

// A change that comes in between finding out what has changed and reading it is seen
// whole, although only half of it was known to have changed.
func TestIndexSeesTransactionsWhole(t *testing.T) {
	db := &interposed{Store: mem.New()}
	write(t, db, definition(0, 0), definition(1, 0), initiative(0, 2), assigned("set", "policySetDefinitions", "s000"), assigned("one", "policyDefinitions", "d0000"), assigned("two", "policyDefinitions", "d0001"))
	x := New(db, noAliases)
	if _, err := x.Current(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, db, definition(0, 1))
	db.before = func() { write(t, db.Store, definition(0, 2), definition(1, 2)) }
	set, err := x.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(versionsSeen(set)); got != "[1.0.2 1.0.2 1.0.2 1.0.2]" {
		t.Errorf("got %s", got)
	}
	if err := db.View(t.Context(), func(tx store.ReadTx) error {
		if now, err := set.Unchanged(tx); !now || err != nil {
			t.Errorf("the set holds: %v, %v", now, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestIndexIsSharedWhilePoliciesChange(t *testing.T) {
	db := mem.New()
	write(t, db, definition(0, 0), definition(1, 0), initiative(0, 2), assigned("set", "policySetDefinitions", "s000"), assigned("one", "policyDefinitions", "d0000"))
	x := New(db, noAliases)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 300 {
				set, err := x.Current(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if all := versionsSeen(set); len(all) != 3 || all[0] != all[1] {
					t.Errorf("versions %v at once", all)
					return
				}
			}
		})
	}
	for n := range 300 {
		write(t, db, definition(n%2, n))
	}
	wg.Wait()
}
