package provider

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// registry finds types by name; it does not change after New.
type registry struct {
	types  map[string]*ResourceType // by Type.Key()
	routes []compiledRoute
	guards []func(tx store.ReadTx, action string, id arm.ID) error
}

func newRegistry(ps []Provider) (*registry, error) {
	r := &registry{types: map[string]*ResourceType{}}
	var errs []error
	for _, p := range ps {
		for _, t := range p.Types {
			errs = append(errs, r.add(t))
		}
		errs = append(errs, r.addRoutes(p.Routes))
		if p.Guard != nil {
			r.guards = append(r.guards, p.Guard)
		}
	}
	for _, t := range r.types {
		if parent, ok := t.Type.Parent(); ok && r.types[parent.Key()] == nil {
			errs = append(errs, fmt.Errorf("type %s: its parent type is not registered", t.Type))
		}
	}
	return r, errors.Join(errs...)
}

func (r *registry) addRoutes(routes []Route) error {
	var errs []error
	for _, rt := range routes {
		c, err := compile(rt)
		errs = append(errs, err)
		r.routes = append(r.routes, c)
	}
	return errors.Join(errs...)
}

func (r *registry) add(t ResourceType) error {
	_, child := t.Type.Parent()
	async := slices.ContainsFunc(t.Actions, func(a Action) bool { return a.Async })
	switch {
	case t.Type.Path() == "":
		return fmt.Errorf("type %q: want NAMESPACE/NAME", t.Type)
	case r.types[t.Type.Key()] != nil:
		return fmt.Errorf("type %s is registered twice", t.Type)
	case len(t.APIVersions) == 0:
		return fmt.Errorf("type %s has no api-version", t.Type)
	case child == (t.Scopes != 0):
		return fmt.Errorf("type %s: a top-level type needs Scopes, a child type has none", t.Type)
	case async && t.Reconcile == nil:
		return fmt.Errorf("type %s has an asynchronous action and no Reconcile", t.Type)
	}
	r.types[t.Type.Key()] = &t
	return nil
}

// find is the registered type, or the 404 that ARM answers.
func (r *registry) find(t arm.Type, apiVersion string) (*ResourceType, error) {
	if found := r.types[t.Key()]; found != nil {
		return found, nil
	}
	for _, known := range r.types {
		if strings.EqualFold(known.Type.Namespace(), t.Namespace()) {
			return nil, arm.Errorf(404, arm.CodeInvalidResourceType,
				"The resource type '%s' could not be found in the namespace '%s' for api version '%s'.", t.Path(), t.Namespace(), apiVersion).At(string(t))
		}
	}
	return nil, arm.Errorf(404, arm.CodeInvalidResourceType, "The resource namespace '%s' is not served here; GET /providers lists what is.", t.Namespace()).At(string(t))
}

// sorted is all types by name.
func (r *registry) sorted() []*ResourceType {
	var ts []*ResourceType
	for _, k := range slices.Sorted(maps.Keys(r.types)) {
		ts = append(ts, r.types[k])
	}
	return ts
}

// allows reports whether the type may be created on the scope.
func (t *ResourceType) allows(scope arm.ID) bool {
	var bit Scopes
	switch scope.Kind() {
	case arm.KindTenant:
		bit = AtTenant
	case arm.KindManagementGroup:
		bit = AtManagementGroup
	case arm.KindSubscription:
		bit = AtSubscription
	case arm.KindResourceGroup:
		bit = AtResourceGroup
	case arm.KindResource:
		bit = AtResource
	}
	return t.Scopes&bit != 0
}

// canonical is the id with keywords and types spelled as registered; names stay as
// the client wrote them.
func (r *registry) canonical(id arm.ID) arm.ID {
	switch id.Kind() {
	case arm.KindTenant:
		return id
	case arm.KindSubscription:
		return arm.SubscriptionID(id.Name())
	case arm.KindResourceGroup:
		return arm.ResourceGroupID(id.Subscription(), id.Name())
	}
	typ := id.Type()
	if t := r.types[typ.Key()]; t != nil {
		typ = t.Type
	}
	if _, child := typ.Parent(); child {
		return r.canonical(id.Parent()).Child(typ.Name(), id.Name())
	}
	return r.canonical(id.Scope()).Resource(typ, id.Name())
}

func (t *ResourceType) action(name, method string) (*Action, bool) {
	known := false
	for i := range t.Actions {
		a := &t.Actions[i]
		if !strings.EqualFold(a.Name, name) {
			continue
		}
		known = true
		if a.method() == method {
			return a, true
		}
	}
	return nil, known
}

// permission is the RBAC action of a verb or action on the type. Groups are the
// exception: Azure's roles know them under their subscription.
func (t *ResourceType) permission(verb string) string {
	if t.Type.Equal(arm.TypeResourceGroup) {
		return "Microsoft.Resources/subscriptions/resourceGroups/" + verb
	}
	if t.Permission != "" {
		return t.Permission + "/" + verb
	}
	return string(t.Type) + "/" + verb
}

func (a *Action) method() string {
	if a.Method == "" {
		return "POST"
	}
	return a.Method
}

// verb is Write.Action of the action. One that is called delete must not be taken for
// the resource's own deletion: scale sets have such an action, on their instances.
func (a *Action) verb() string {
	if strings.EqualFold(a.Name, "delete") || strings.EqualFold(a.Name, "write") {
		return a.Name + "/action"
	}
	return a.Name
}

func (a *Action) permission(t *ResourceType) string {
	if a.method() == "GET" {
		return t.permission(a.Name + "/read")
	}
	return t.permission(a.Name + "/action")
}
