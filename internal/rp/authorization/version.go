package authorization

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// parametersOf are the declared parameters of a definition or initiative.
func parametersOf(body json.RawMessage) ([]policy.Parameter, error) {
	v, err := value.Parse(string(body))
	if err != nil {
		return nil, err
	}
	props := v.Find(value.NewKey("properties"))
	if !props.Find(value.NewKey("policyDefinitions")).IsUndefined() {
		set, err := policy.InitiativeFromValue(v, "")
		if err != nil {
			return nil, err
		}
		return set.Parameters, nil
	}
	def, err := policy.DefinitionFromValue(v, "")
	if err != nil {
		return nil, err
	}
	return def.Parameters, nil
}

// defaultVersion makes the version's name its version.
func defaultVersion(w *provider.Write) (err error) {
	if !objectProperties(w) {
		return nil
	}
	if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.version", w.ID.Name()); err != nil {
		return err
	}
	if strings.EqualFold(string(w.Type.Type), string(assignment.TypeDefinitionVersion)) {
		return defaultDefinition(w)
	}
	return defaultInitiative(w)
}

// commitVersioned keeps what was there under its version when a PUT brings another,
// and lists the versions.
func commitVersioned(most int) func(store.Tx, *provider.Write) error {
	return func(tx store.Tx, w *provider.Write) error {
		if err := limit(tx, w, most); err != nil {
			return err
		}
		if err := keepOld(tx, w); err != nil {
			return err
		}
		names, err := versionsOf(tx, w.ID, w.Doc.Body)
		if err != nil {
			return err
		}
		if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.versions", names); err != nil {
			return err
		}
		return assignment.Touch(tx)
	}
}

func keepOld(tx store.Tx, w *provider.Write) error {
	if w.Old == nil {
		return nil
	}
	return keep(tx, w.Old, arm.GetString(w.Doc.Body, "properties.version"))
}

// keep stores what a definition says as a version of its own, unless now is the same
// version.
func keep(tx store.Tx, d *store.Document, now string) error {
	was := arm.GetString(d.Body, "properties.version")
	if was == "" || was == now {
		return nil
	}
	kept := d.Clone()
	kept.ID, kept.Type, kept.Operations = d.ARMID().Child("versions", was).String(), d.Type.Child("versions"), nil
	var err error
	if kept.Body, err = renamed(arm.Remove(d.Body, "properties.versions"), kept.ARMID()); err != nil {
		return err
	}
	if err := tx.Put(kept, store.Absent); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// renamed is a body with another id, name and type.
func renamed(body json.RawMessage, id arm.ID) (json.RawMessage, error) {
	var err error
	for _, p := range [][2]string{{"id", id.String()}, {"name", id.Name()}, {"type", string(id.Type())}} {
		if body, err = arm.Set(body, p[0], p[1]); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// versionsOf are the versions that there are, highest first.
func versionsOf(tx store.ReadTx, id arm.ID, body json.RawMessage) ([]string, error) {
	kept, err := tx.List(store.Query{Prefix: id.Key() + "/versions/"})
	if err != nil {
		return nil, err
	}
	names := []string{arm.GetString(body, "properties.version")}
	for _, d := range kept {
		if n := d.ARMID().Name(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return assignment.CompareVersions(b, a) })
	return names, nil
}

// commitVersion writes a version of its own; the definition itself shows the
// highest.
func commitVersion(tx store.Tx, w *provider.Write) error {
	parent, err := tx.Get(w.ID.Parent().Key())
	if err != nil {
		return err
	}
	names, err := versionsOf(tx, w.ID.Parent(), parent.Body)
	if err != nil {
		return err
	}
	if !slices.Contains(names, w.ID.Name()) {
		names = append(names, w.ID.Name())
		slices.SortFunc(names, func(a, b string) int { return assignment.CompareVersions(b, a) })
	}
	if names[0] == w.ID.Name() {
		if err := keep(tx, parent, w.ID.Name()); err != nil {
			return err
		}
		if parent.Body, err = renamed(w.Doc.Body, parent.ARMID()); err != nil {
			return err
		}
	}
	if parent.Body, err = arm.Set(parent.Body, "properties.versions", names); err != nil {
		return err
	}
	if err := tx.Put(parent, parent.Revision); err != nil {
		return err
	}
	return assignment.Touch(tx)
}

// removeVersion takes a version out of the definition's list; the one that the
// definition itself shows stays as long as the definition.
func removeVersion(tx store.Tx, w *provider.Write) error {
	parent, err := tx.Get(w.ID.Parent().Key())
	if err != nil {
		return err
	}
	if arm.GetString(parent.Body, "properties.version") == w.ID.Name() {
		return arm.BadRequest("InvalidDeletePolicyDefinitionVersionRequest", w.ID.String(),
			"The version '%s' is the newest one of '%s' and cannot be deleted. Delete the definition, or publish a newer version first.", w.ID.Name(), parent.ARMID().Name())
	}
	names, err := versionsOf(tx, w.ID.Parent(), parent.Body)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == w.ID.Name() })
	if parent.Body, err = arm.Set(parent.Body, "properties.versions", names); err != nil {
		return err
	}
	if err := tx.Put(parent, parent.Revision); err != nil {
		return err
	}
	return assignment.Touch(tx)
}

// unusedDefinition refuses to delete what an assignment or an initiative names.
func unusedDefinition(tx store.Tx, w *provider.Write) error {
	kind, code := "policy definition", "InvalidDeletePolicyDefinitionRequest"
	if w.Type.Type.Equal(assignment.TypeInitiative) {
		kind, code = "policy set definition", "InvalidDeletePolicySetDefinitionRequest"
	}
	user, err := userOf(tx, w.ID)
	if err != nil {
		return err
	}
	if user != "" {
		return arm.BadRequest(code, w.ID.String(),
			"The %s '%s' cannot be deleted. It is referenced by '%s'. Delete what references it first.", kind, w.ID.Name(), user)
	}
	return assignment.Touch(tx)
}

func userOf(tx store.ReadTx, id arm.ID) (string, error) {
	assigned, err := tx.List(store.Query{Type: assignment.TypeAssignment})
	if err != nil {
		return "", err
	}
	for _, a := range assigned {
		if strings.EqualFold(arm.GetString(a.Body, "properties.policyDefinitionId"), id.String()) {
			return a.ID, nil
		}
	}
	sets, err := tx.List(store.Query{Type: assignment.TypeInitiative})
	if err != nil {
		return "", err
	}
	for _, s := range sets {
		members, _ := arm.Get(s.Body, "properties.policyDefinitions") // the body itself names its own id
		if strings.Contains(strings.ToLower(string(members)), `"`+id.Key()+`"`) {
			return s.ID, nil
		}
	}
	return "", nil
}
