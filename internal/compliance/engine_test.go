package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

const sub = "/subscriptions/s"

// estate is a store with an engine on it; put changes documents as the pipeline
// would, without it.
type estate struct {
	t     *testing.T
	store store.Store
	now   time.Time
	*Engine
}

var noAliases = alias.New(alias.Alias{Name: "Microsoft.Compute/virtualMachines/size", Type: "Microsoft.Compute/virtualMachines", Path: "properties.size"},
	alias.Alias{Name: "Microsoft.Compute/virtualMachines/extensions/publisher", Type: "Microsoft.Compute/virtualMachines/extensions", Path: "properties.publisher"})

func newEstate(t *testing.T) *estate { return newEstateOn(t, mem.New()) }

func newEstateOn(t *testing.T, s store.Store) *estate {
	x := &estate{t: t, store: s, now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
	x.restart()
	x.put(sub, `{"displayName":"S"}`)
	x.put(sub+"/resourceGroups/g", `{"location":"local"}`)
	x.put(sub+"/resourceGroups/h", `{"location":"north"}`)
	return x
}

// restart is a new process on the same store.
func (x *estate) restart() { x.Engine = x.fresh(x.store) }

func (x *estate) fresh(s store.Store) *Engine {
	return New(Config{Store: s, Index: assignment.New(s, noAliases), Facts: ImageFacts{}, Now: func() time.Time { return x.now }})
}

func (x *estate) put(id, body string) {
	x.t.Helper()
	parsed, err := arm.ParseID(id)
	if err != nil {
		x.t.Fatal(err)
	}
	d := &store.Document{ID: id, Type: parsed.Type(), SubscriptionID: parsed.Subscription(), ResourceGroup: parsed.ResourceGroup(),
		Location: arm.GetString([]byte(body), "location"), Body: json.RawMessage(body), CreatedAt: x.now, UpdatedAt: x.now}
	x.update(func(tx store.Tx) error {
		if assignment.IsSource(d.Type) {
			if err := assignment.Touch(tx); err != nil {
				return err
			}
		}
		return tx.Put(d, store.Any)
	})
}

func (x *estate) remove(id string) {
	x.t.Helper()
	x.update(func(tx store.Tx) error {
		if err := assignment.Touch(tx); err != nil {
			return err
		}
		if err := tx.Delete(id, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	})
}

func (x *estate) update(f func(store.Tx) error) {
	x.t.Helper()
	if err := x.store.Update(x.t.Context(), f); err != nil {
		x.t.Fatal(err)
	}
}

func definition(name string) string {
	return sub + "/providers/Microsoft.Authorization/policyDefinitions/" + name
}

func (x *estate) define(name, rule string) {
	x.t.Helper()
	x.put(definition(name), `{"properties":{"version":"1.0.0","mode":"All","policyRule":`+rule+`}}`)
}

func (x *estate) assign(scope, name, more string) {
	x.t.Helper()
	x.put(scope+"/providers/Microsoft.Authorization/policyAssignments/"+name, `{"properties":{"policyDefinitionId":"`+definition(name)+`"`+more+`}}`)
}

// states is what the engine says, as "resource policy state" lines.
func (x *estate) states() []string {
	x.t.Helper()
	return statesOf(x.t, x.Engine)
}

func statesOf(t *testing.T, e *Engine) []string {
	t.Helper()
	r, err := e.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Current {
		t.Fatalf("evaluation did not catch up: %+v", r.Progress)
	}
	out := []string{}
	err = r.Rows(t.Context(), arm.Tenant, func(row Row) bool {
		out = append(out, fmt.Sprintf("%s %s %s", strings.TrimPrefix(row.Resource, sub), row.Unit.Assignment.Name+row.Unit.ReferenceID, row.State))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (x *estate) want(want ...string) {
	x.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), x.states()); diff != "" {
		x.t.Errorf("states (-want +got):\n%s", diff)
	}
}

func vm(group, name string) string {
	return sub + "/resourceGroups/" + group + "/providers/Microsoft.Compute/virtualMachines/" + name
}

func short(group, name string) string { return strings.TrimPrefix(vm(group, name), sub) }

const bigRule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/size","equals":"big"}]},"then":{"effect":"audit"}}`

func TestResourcesAndAssignmentsAreFollowed(t *testing.T) {
	x := newEstate(t)
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.put(sub+"/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n", `{"properties":{"size":"big"}}`)
	x.want()
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.want(short("g", "a") + " big NonCompliant")
	x.put(vm("g", "a"), `{"properties":{"size":"small"}}`)
	x.put(vm("h", "b"), `{"properties":{"size":"big"}}`)
	x.want(short("g", "a")+" big Compliant", short("h", "b")+" big NonCompliant")
	x.assign(sub, "big", `,"notScopes":["`+sub+`/resourceGroups/h"]`)
	x.want(short("g", "a") + " big Compliant")
	x.define("big", strings.Replace(bigRule, `"big"`, `"small"`, 1))
	x.want(short("g", "a") + " big NonCompliant")
	x.remove(vm("g", "a"))
	x.want()
	x.put(vm("g", "a"), `{"properties":{"size":"small"}}`)
	x.remove(sub + "/providers/Microsoft.Authorization/policyAssignments/big")
	x.want()
}

func TestARestartGoesOnWhereItWas(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.want(short("g", "a") + " big NonCompliant")
	x.put(vm("g", "a"), `{"properties":{"size":"small"}}`) // nobody is looking
	x.remove(vm("g", "b"))
	x.restart()
	x.want(short("g", "a") + " big Compliant")
}

func TestExistenceFollowsRelatedResources(t *testing.T) {
	x := newEstate(t)
	x.define("agent", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"auditIfNotExists","details":{
		"type":"Microsoft.Compute/virtualMachines/extensions","existenceCondition":{"field":"Microsoft.Compute/virtualMachines/extensions/publisher","equals":"us"}}}}`)
	x.assign(sub, "agent", "")
	x.put(vm("g", "a"), `{}`)
	x.put(vm("g", "b"), `{}`)
	x.want(short("g", "a")+" agent NonCompliant", short("g", "b")+" agent NonCompliant")
	x.put(vm("g", "a")+"/extensions/e", `{"properties":{"publisher":"them"}}`)
	x.put(vm("g", "a")+"/extensions/f", `{"properties":{"publisher":"us"}}`)
	x.want(short("g", "a")+" agent Compliant", short("g", "b")+" agent NonCompliant")
	x.remove(vm("g", "a") + "/extensions/f")
	x.want(short("g", "a")+" agent NonCompliant", short("g", "b")+" agent NonCompliant")
}

func TestExemptionsBeginAndEndOnTime(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.put(sub+"/resourceGroups/g/providers/Microsoft.Authorization/policyExemptions/x", `{"properties":{"exemptionCategory":"Waiver","expiresOn":"2026-06-02T00:00:00Z",
		"policyAssignmentId":"`+sub+`/providers/Microsoft.Authorization/policyAssignments/BIG"}}`)
	x.want(short("g", "a") + " big Exempt")
	x.put(vm("h", "a"), `{"properties":{"size":"big"}}`)
	x.countsAgree()
	x.remove(vm("h", "a"))
	x.now = time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC)
	x.want(short("g", "a") + " big NonCompliant")
}

func TestTimeMovesVerdicts(t *testing.T) {
	x := newEstate(t)
	x.define("old", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['until']","less":"[utcNow()]"}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "old", "")
	x.put(vm("g", "a"), `{"tags":{"until":"2026-06-01T13:00:00Z"}}`)
	x.want(short("g", "a") + " old Compliant")
	x.now = x.now.Add(2 * time.Hour)
	x.want(short("g", "a") + " old NonCompliant")
	got, err := x.Transitions(t.Context(), arm.Tenant, time.Time{}, x.now)
	if err != nil || len(got) != 1 || got[0].From != Compliant || got[0].To != NonCompliant {
		t.Errorf("transitions %+v, %v", got, err)
	}
}

func TestTagsOfTheGroupAreFollowed(t *testing.T) {
	x := newEstate(t)
	x.define("owner", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['owner']","notEquals":"[resourceGroup().tags.owner]"}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "owner", "")
	x.put(sub+"/resourceGroups/g", `{"location":"local","tags":{"owner":"ann"}}`)
	x.put(vm("g", "a"), `{"tags":{"owner":"ann"}}`)
	x.want(short("g", "a") + " owner Compliant")
	x.put(sub+"/resourceGroups/g", `{"location":"local","tags":{"owner":"bob"}}`)
	x.want(short("g", "a") + " owner NonCompliant")
}

func TestABrokenRuleIsAnError(t *testing.T) {
	x := newEstate(t)
	x.define("broken", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"value":"[substring(field('name'), 0, 'x')]","equals":"a"}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "broken", "")
	x.put(vm("g", "a"), `{}`)
	x.want(short("g", "a") + " broken Error")
}

func TestInitiativesHaveOneStateForEachPolicy(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.define("none", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"disabled"}}`)
	x.define("manual", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"manual"}}`)
	set := sub + "/providers/Microsoft.Authorization/policySetDefinitions/set"
	x.put(set, `{"properties":{"version":"1.0.0","policyDefinitions":[{"policyDefinitionReferenceId":"1","policyDefinitionId":"`+definition("none")+`"},
		{"policyDefinitionReferenceId":"2","policyDefinitionId":"`+definition("big")+`"},{"policyDefinitionReferenceId":"3","policyDefinitionId":"`+definition("manual")+`"}]}}`)
	x.put(sub+"/providers/Microsoft.Authorization/policyAssignments/set", `{"properties":{"policyDefinitionId":"`+set+`"}}`)
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.want(short("g", "a")+" set2 NonCompliant", short("g", "a")+" set3 Unknown")
	x.put(vm("g", "a")+"/providers/Microsoft.PolicyInsights/attestations/w", `{"properties":{"policyAssignmentId":"`+sub+`/providers/Microsoft.Authorization/policyAssignments/set",
		"policyDefinitionReferenceId":"3","complianceState":"Compliant"}}`)
	x.want(short("g", "a")+" set2 NonCompliant", short("g", "a")+" set3 Compliant")
}

const gallery = sub + "/resourceGroups/h/providers/Microsoft.Compute/galleries/gal"

func TestImagesMoveTheMachinesMadeFromThem(t *testing.T) {
	x := newEstate(t)
	x.define("fresh", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Hallmark.Image/state","notIn":["approved-current"]}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "fresh", "")
	version := func(name, tags string) {
		x.put(gallery+"/images/web/versions/"+name, `{"id":"`+gallery+`/images/web/versions/`+name+`","name":"`+name+`","type":"Microsoft.Compute/galleries/images/versions","tags":{`+tags+`},
			"properties":{"provisioningState":"Succeeded","publishingProfile":{"publishedDate":"2026-05-01T00:00:00Z"}}}`)
	}
	x.put(gallery, `{"id":"`+gallery+`","type":"Microsoft.Compute/galleries","name":"gal"}`)
	x.put(gallery+"/images/web", `{"id":"`+gallery+`/images/web","type":"Microsoft.Compute/galleries/images","name":"web"}`)
	version("1.0.0", "")
	x.put(vm("g", "a"), `{"id":"`+vm("g", "a")+`","type":"Microsoft.Compute/virtualMachines","name":"a","properties":{"storageProfile":{"imageReference":{"id":"`+gallery+`/images/web/versions/1.0.0"}}}}`)
	x.want(short("g", "a") + " fresh Compliant")
	version("1.1.0", "")
	x.want(short("g", "a") + " fresh NonCompliant")
	x.remove(gallery + "/images/web/versions/1.1.0")
	x.want(short("g", "a") + " fresh Compliant")

	version("1.2.0", "")
	x.put(vm("g", "b"), `{}`) // has progress stored
	if _, err := x.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.restart() // before anything but the changed resources was evaluated
	x.want(short("g", "a")+" fresh NonCompliant", short("g", "b")+" fresh NonCompliant")
}

func TestGroupsHaveStates(t *testing.T) {
	x := newEstate(t)
	x.define("owner", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Resources/subscriptions/resourceGroups"},{"field":"tags['owner']","exists":false}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "owner", "")
	x.put(sub+"/resourceGroups/g", `{"tags":{"owner":"ann"}}`)
	x.want("/resourceGroups/g owner Compliant", "/resourceGroups/h owner NonCompliant")
}

// What a rule looks for in its group is followed in its group.
func TestRelatedResourcesInTheGroup(t *testing.T) {
	x := newEstate(t)
	x.define("vault", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"auditIfNotExists","details":{"type":"Microsoft.KeyVault/vaults"}}}`)
	x.assign(sub, "vault", "")
	x.put(vm("g", "a"), `{}`)
	x.put(vm("h", "b"), `{}`)
	x.want(short("g", "a")+" vault NonCompliant", short("h", "b")+" vault NonCompliant")
	x.put(sub+"/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v", `{}`)
	x.want(short("g", "a")+" vault Compliant", short("h", "b")+" vault NonCompliant")
}

// A machine's image is what its disk was made from, over copies of disks.
func TestFactsFollowDisks(t *testing.T) {
	x := newEstate(t)
	disk := func(name, creation string) string {
		id := sub + "/resourceGroups/g/providers/Microsoft.Compute/disks/" + name
		x.put(id, `{"managedBy":"`+vm("g", "a")+`","properties":{"creationData":`+creation+`}}`)
		return id
	}
	x.define("marketplace", `{"if":{"allOf":[{"field":"type","in":["Microsoft.Compute/virtualMachines","Microsoft.Compute/disks"]},{"field":"Hallmark.Image/sourceOffer","equals":"debian-12"}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "marketplace", "")
	first := disk("first", `{"createOption":"FromImage","imageReference":{"id":"/Subscriptions/s/Providers/Microsoft.Compute/Locations/l/Publishers/debian/ArtifactTypes/VMImage/Offers/debian-12/Skus/12/Versions/1"}}`)
	second := disk("second", `{"createOption":"Copy","sourceResourceId":"`+first+`"}`)
	x.put(vm("g", "a"), `{"properties":{"storageProfile":{"osDisk":{"createOption":"Attach","managedDisk":{"id":"`+second+`"}}}}}`)
	disks := "/resourceGroups/g/providers/Microsoft.Compute/disks/"
	x.want(disks+"first marketplace NonCompliant", disks+"second marketplace NonCompliant", short("g", "a")+" marketplace NonCompliant")
	disk("second", `{"createOption":"Empty"}`)
	x.want(disks+"first marketplace NonCompliant", disks+"second marketplace Compliant", short("g", "a")+" marketplace Compliant")
}

// stores are what the engine has to work on. One tells lies about its commits: some
// fail, and some that fail were applied.
var stores = map[string]func(t *testing.T) (s store.Store, lie func(bool)){
	"mem": func(*testing.T) (store.Store, func(bool)) { return mem.New(), func(bool) {} },
	"lying": func(*testing.T) (store.Store, func(bool)) {
		s := mem.New()
		return s, func(on bool) {
			s.SetFault(nil)
			if on {
				s.SetFault(func(commit int) mem.Fault {
					return []mem.Fault{mem.FailNotApplied, mem.None, mem.FailApplied}[commit%3]
				})
			}
		}
	},
	"sqlite": func(t *testing.T) (store.Store, func(bool)) {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s, func(bool) {}
	},
}

// What is not evaluated yet is left out, rather than shown as it was.
func TestStaleVerdictsAreNotShown(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.put(vm("g", "b"), `{"properties":{"size":"big"}}`)
	x.states()
	late := &Reader{engine: x.Engine, Set: x.set, Progress: x.Progress(), Current: false, now: x.now, ledger: x.ledger}
	x.put(vm("g", "a"), `{"properties":{"size":"small"}}`)
	x.assign(sub+"/resourceGroups/g", "big", "")
	var got []string
	if err := late.Rows(t.Context(), arm.Tenant, func(r Row) bool { got = append(got, r.Resource); return true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{vm("g", "b")}, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever happens in whatever order, what was followed is what a fresh engine finds.
func TestIncrementalIsAFullScan(t *testing.T) {
	for name, open := range stores {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				s, lie := open(t)
				incremental(t, s, lie, seed)
			})
		}
	}
}

func incremental(t *testing.T, s store.Store, lie func(bool), seed uint64) {
	x := newEstateOn(t, s)
	r := rand.New(rand.NewPCG(seed, 7))
	x.define("p0", bigRule)
	x.define("p1", strings.Replace(bigRule, `"audit"`, `"deny"`, 1))
	x.define("p2", `{"if":{"field":"tags['owner']","exists":false},"then":{"effect":"audit"}}`)
	for step := range 60 {
		x.change(r)
		lie(true)
		for range 3 {
			_, _ = x.step(t.Context()) // it may fail; it must not lose anything
		}
		lie(false)
		if step%7 == 0 {
			x.states()
		}
		if step%23 == 0 {
			x.restart()
		}
	}
	got := x.states()
	x.countsAgree()
	x.wipe()
	if diff := cmp.Diff(statesOf(t, x.fresh(x.store)), got); diff != "" {
		t.Errorf("followed (+) differs from scanned (-):\n%s", diff)
	}
}

// countsAgree compares what is told of resources that fare alike with what is told of
// each.
func (x *estate) countsAgree() {
	x.t.Helper()
	r, err := x.Read(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	one, alike := map[string]int{}, map[string]int{}
	name := func(row Row) string { return fmt.Sprint(row.Unit.Assignment.ID, row.Unit.Index, row.Type, row.State) }
	err = r.Rows(x.t.Context(), arm.Tenant, func(row Row) bool { one[name(row)]++; return true })
	err2 := r.Counts(x.t.Context(), arm.Tenant, func(rows []Row, resources int) {
		for _, row := range rows {
			alike[name(row)] += resources
		}
	})
	if diff := cmp.Diff(one, alike); diff != "" || err != nil || err2 != nil {
		x.t.Errorf("%v %v (-each +alike)\n%s", err, err2, diff)
	}
}

// change does one random thing.
func (x *estate) change(r *rand.Rand) {
	group := []string{"g", "h"}[r.IntN(2)]
	machine := vm(group, fmt.Sprint(r.IntN(4)))
	policy := fmt.Sprint("p", r.IntN(3))
	scope := []string{sub, sub + "/resourceGroups/g", vm("h", "1")}[r.IntN(3)]
	switch r.IntN(8) {
	case 0, 1, 2:
		x.put(machine, fmt.Sprintf(`{"location":"local","tags":{%s},"properties":{"size":"%s"}}`, []string{"", `"owner":"x"`}[r.IntN(2)], []string{"big", "small"}[r.IntN(2)]))
	case 3:
		x.remove(machine)
	case 4, 5:
		x.assign(scope, policy, []string{"", `,"notScopes":["` + sub + `/resourceGroups/h"]`, `,"resourceSelectors":[{"selectors":[{"kind":"resourceLocation","in":["north"]}]}]`}[r.IntN(3)])
	case 6:
		x.remove(scope + "/providers/Microsoft.Authorization/policyAssignments/" + policy)
	case 7:
		x.define("p0", strings.Replace(bigRule, `"big"`, []string{`"big"`, `"small"`}[r.IntN(2)], 1))
	}
}

// wipe forgets everything that an engine has written.
func (x *estate) wipe() {
	x.update(func(tx store.Tx) error {
		docs, err := tx.List(store.Query{})
		for _, d := range docs {
			if err == nil && own(d.Type) {
				err = tx.Delete(d.Key, store.Any)
			}
		}
		return err
	})
}

// A step that changes nothing writes nothing: the engine must not wake itself.
func TestAnIdleEngineIsQuiet(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.put(vm("g", "a"), `{}`)
	x.states()
	_, before, err := x.store.Since(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if busy, err := x.step(context.Background()); busy || err != nil {
			t.Errorf("busy %v, %v", busy, err)
		}
	}
	if _, after, _ := x.store.Since(t.Context(), 0, 1); after != before {
		t.Errorf("the store went from revision %d to %d", before, after)
	}
}

// Rules may ask for the request's api-version. Where no request caused the evaluation
// it is the newest, as in Azure's compliance scans: not an error.
func TestNoRequestMeansTheNewestAPIVersion(t *testing.T) {
	x := newEstate(t)
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	x.define("version", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"value":"[requestContext().apiVersion]","less":"2024-01-01"}]},"then":{"effect":"audit"}}`)
	x.assign(sub, "version", "")
	x.want(short("g", "a") + " version Compliant")
}
