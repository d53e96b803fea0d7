package compute

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// A scale set's machines are its members: documents of TypeInstance below a Uniform set,
// and ordinary machines that name a Flexible set. Both are machines in all that they do; the
// set is their client.

const (
	// pathMembership is where a scale set tells a machine that it makes what no client
	// may say; it is dropped from every request and stored nowhere.
	pathMembership = "hallmarkMember"
	pathScaleSet   = "properties.virtualMachineScaleSet.id"

	actionFollow = "applyModel"
)

// membership is what a scale set tells its member.
type membership struct {
	Model        string          `json:"model"`
	PasswordHash string          `json:"passwordHash,omitempty"`
	CustomData   []byte          `json:"customData,omitempty"` // sealed
	SKU          json.RawMessage `json:"sku,omitempty"`
}

var instanceName = regexp.MustCompile(`^[0-9]{1,9}$`)

// instances are the machines of Uniform scale sets.
func (s *service) instances() provider.ResourceType {
	t := s.virtualMachines()
	t.Type, t.Scopes, t.Hidden, t.CascadeDelete = TypeInstance, 0, true, true
	t.Name, t.NameHint = instanceName, "the number that the scale set has given the instance"
	t.ReadOnly = append(slices.Clone(t.ReadOnly), "instanceId", "sku", "properties.latestModelApplied", "properties.modelDefinitionApplied", "properties.networkProfileConfiguration")
	t.Validate = s.validateInstance
	t.Watches = map[arm.Type]func(string, *store.Document) []string{TypeDisk: wakeOwner(TypeInstance)}
	t.View, t.Collection = s.viewMember, collectionOf
	t.Actions = append(t.Actions, provider.Action{Name: "reimageall", Async: true, Apply: wanted(reimage)})
	return t
}

func system(w *provider.Write) bool { return w.Principal.Kind == identity.System.Kind }

// takeMembership takes over what the scale set says of its new member.
func takeMembership(w *provider.Write, p *vmState) error {
	raw, ok := arm.Get(w.Request, pathMembership)
	if !ok || !system(w) {
		return nil
	}
	var m membership
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	p.Model, p.PasswordHash, p.CustomData = m.Model, m.PasswordHash, m.CustomData
	if w.Type.Type != TypeInstance {
		return nil
	}
	edits := []edit{{"instanceId", w.ID.Name(), false}, {"sku", m.SKU, false}, {"properties.modelDefinitionApplied", "VirtualMachineScaleSet", false}}
	if p.Interface != nil {
		edits = append(edits, edit{"properties.networkProfileConfiguration.networkInterfaceConfigurations", []json.RawMessage{p.Interface}, false})
	}
	return apply(w.Doc, edits...)
}

func (s *service) validateInstance(w *provider.Write) []*arm.Error {
	if w.Create() && !system(w) {
		return []*arm.Error{arm.Conflict("OperationNotAllowed", w.ID.String(), "The scale set %s has no instance %s, and instances are not created one by one: change the scale set's sku.capacity.", w.ID.Parent().Name(), w.ID.Name())}
	}
	return s.validateVM(w)
}

// loadScaleSet reads the scale set that a machine says it is in.
func loadScaleSet(ctx context.Context, w *provider.Write, b vmBody) (json.RawMessage, error) {
	id, err := arm.ParseID(b.Properties.VirtualMachineScaleSet.ID)
	if err != nil || !w.Create() || !id.Type().Equal(TypeScaleSet) {
		return nil, nil // Validate says so
	}
	body, err := w.Client.Get(ctx, id)
	if arm.IsNotFound(err) {
		return nil, nil
	}
	return body, err
}

func checkMembership(w *provider.Write, b vmBody, l loadedVM) []*arm.Error {
	text := b.Properties.VirtualMachineScaleSet.ID
	if !w.Create() {
		return unchanged(w, pathScaleSet)
	}
	if text == "" {
		return nil
	}
	id, err := arm.ParseID(text)
	switch {
	case err != nil || !id.Type().Equal(TypeScaleSet):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, pathScaleSet, "'%s' is not the id of a scale set.", text)}
	case l.scaleSet == nil:
		return []*arm.Error{arm.BadRequest("InvalidResourceReference", pathScaleSet, "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists.", text, w.ID)}
	case !id.Scope().Equal(w.ID.Scope()) || arm.NormalLocation(arm.GetString(l.scaleSet, "location")) != w.Doc.Location:
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, pathScaleSet, "A machine and its scale set are in the same resource group and the same location.")}
	case !isFlexible(l.scaleSet):
		return []*arm.Error{arm.Conflict("OperationNotAllowed", pathScaleSet, "The scale set %s is Uniform: its instances are made by changing sku.capacity. Only a Flexible scale set takes machines in.", id.Name())}
	}
	return nil
}

// madeBySet tells the members that a set has made from those that somebody has put there:
// these are not changed to be like the model.
func madeBySet(d *store.Document) bool {
	_, p := readVM(d)
	return p.Model != ""
}

// checkNobodysMachines refuses to delete a set together with machines that somebody has put
// there, unless that is what is asked for.
func checkNobodysMachines(tx store.Tx, w *provider.Write) error {
	q, member, ok := collectionOf(w.Old)
	if !ok || system(w) || strings.EqualFold(w.Query.Get("forcedeletion"), "true") {
		return nil
	}
	all, err := tx.List(q)
	if err != nil {
		return err
	}
	for _, d := range all {
		if member(d) && !d.Deleting && !madeBySet(d) {
			return arm.Conflict("OperationNotAllowed", w.ID.String(), "The scale set '%s' has the machine '%s', which it has not made. Delete that machine first, or delete the scale set with forceDeletion=true.", w.ID.Name(), d.ARMID().Name())
		}
	}
	return nil
}

func isFlexible(set json.RawMessage) bool {
	return strings.EqualFold(arm.GetString(set, "properties.orchestrationMode"), flexible)
}

// setOf is the scale set that a machine belongs to.
func setOf(id arm.ID, body json.RawMessage) (set arm.ID, member bool) {
	if id.Type().Equal(TypeInstance) {
		return id.Parent(), true
	}
	set, err := arm.ParseID(arm.GetString(body, pathScaleSet))
	return set, err == nil && set.Type().Equal(TypeScaleSet)
}

// joinScaleSet counts a machine that somebody creates in a Flexible set; what the set makes
// itself is counted already.
func joinScaleSet(tx store.Tx, w *provider.Write) error {
	set, member := setOf(w.ID, w.Doc.Body)
	if !member || !w.Create() || system(w) {
		return nil
	}
	d, err := tx.Get(set.Key())
	if err != nil || d.Deleting {
		return arm.Conflict(arm.CodeConflict, pathScaleSet, "The scale set %s is being deleted.", set.Name()).Because(err)
	}
	return addCapacity(tx, w, d, 1)
}

// leaveScaleSet takes a machine that somebody deletes out of the set's capacity: the set
// must not make another in its place.
func leaveScaleSet(tx store.Tx, w *provider.Write) error {
	set, member := setOf(w.ID, w.Old.Body)
	if !member || system(w) {
		return nil
	}
	d, err := tx.Get(set.Key())
	if errors.Is(err, store.ErrNotFound) || err == nil && d.Deleting {
		return nil
	}
	if err != nil {
		return err
	}
	return addCapacity(tx, w, d, -1)
}

func addCapacity(tx store.Tx, w *provider.Write, set *store.Document, n int) error {
	b, p := readSet(set)
	if r := p.Round; n < 0 && r != nil && r.Ask == askDelete && slices.Contains(r.Left, w.ID.Name()) {
		return nil // it has been taken off already
	}
	if err := apply(set, edit{pathCapacity, max(0, b.SKU.Capacity+n), false}); err != nil {
		return err
	}
	set.UpdatedAt, set.UpdatedBy = w.Now, w.Principal.ObjectID
	return tx.Put(set, set.Revision)
}

// collectionOf: the machines of a Flexible set are listed below it, as Azure does.
func collectionOf(set *store.Document) (store.Query, func(*store.Document) bool, bool) {
	if !isFlexible(set.Body) {
		return store.Query{}, nil, false
	}
	keep := func(d *store.Document) bool {
		of, member := setOf(d.ARMID(), d.Body)
		return member && of.Key() == set.Key
	}
	return store.Query{Type: TypeVM, Prefix: set.ARMID().Scope().Key() + "/"}, keep, true
}

// wakeSet makes a scale set look again when one of its members changes.
func wakeSet(key string, d *store.Document) []string {
	if d == nil {
		if id, err := arm.ParseID(key); err == nil && id.Type().Equal(TypeInstance) {
			return []string{id.Parent().Key()}
		}
		return nil
	}
	if set, member := setOf(d.ARMID(), d.Body); member {
		return []string{set.Key()}
	}
	return nil
}
