package recorded

import (
	"encoding/json"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// shapes are what the properties that every ARM resource may have look like; what is
// in "properties" is the type's own business.
var shapes = []struct {
	name string
	want string
	fits func(json.RawMessage) bool
}{
	{"sku", "an object whose name is a string", object("name")},
	{"identity", "an object whose type is a string", object("type")},
	{"plan", "an object whose name is a string", object("name")},
	{"extendedLocation", "an object whose name is a string", object("name")},
	{"kind", "a string", text},
	{"managedBy", "a string", text},
	{"zones", "an array of strings", texts},
}

// object accepts an object in which the property, if it is there, is a string.
func object(property string) func(json.RawMessage) bool {
	return func(raw json.RawMessage) bool {
		if err := arm.EachMember(raw, func(string, json.RawMessage) {}); err != nil {
			return false
		}
		v, ok := arm.Get(raw, property)
		return !ok || text(v)
	}
}

func text(raw json.RawMessage) bool {
	var s string
	return json.Unmarshal(raw, &s) == nil
}

func texts(raw json.RawMessage) bool {
	var s []string
	return json.Unmarshal(raw, &s) == nil
}

func validateShape(w *provider.Write) (errs []*arm.Error) {
	for _, s := range shapes {
		if v, ok := arm.Get(w.Doc.Body, s.name); ok && !s.fits(v) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, s.name, "%s must be %s.", s.name, s.want))
		}
	}
	if v, ok := arm.Get(w.Doc.Body, "identity.userAssignedIdentities"); ok {
		err := arm.EachMember(v, func(id string, _ json.RawMessage) {
			if _, err := arm.ParseID(id); err != nil {
				errs = append(errs, arm.BadRequest("InvalidIdentityId", "identity.userAssignedIdentities", "A user-assigned identity is named by its id: %v.", err))
			}
		})
		if err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "identity.userAssignedIdentities", "userAssignedIdentities must be an object whose names are identities' ids."))
		}
	}
	return errs
}
