package gallery

import (
	"encoding/json"
	"errors"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Azure's limits for one subscription in one region.
const (
	maxGalleries   = 100
	maxDefinitions = 1000
	maxVersions    = 10000
)

type galleryBody struct {
	Properties struct {
		Description      string
		SoftDeletePolicy struct{ IsSoftDeleteEnabled bool }
		SharingProfile   struct{ Permissions string }
	}
}

// decode reads a body into a small struct, and says where a value has the wrong type.
func decode(body json.RawMessage, into any) []*arm.Error {
	err := json.Unmarshal(body, into)
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typ):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, camelPath(typ.Field), "The value is a %s; it must be a %s.", typ.Value, typ.Type)}
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The body cannot be read: %v.", err)}
}

// camelPath spells the path of Go's field names as ARM does.
func camelPath(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToLower(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, ".")
}

func defaultGallery(w *provider.Write) (err error) {
	unique := w.ID.Subscription() + "-" + strings.ToUpper(w.ID.Name())
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.identifier.uniqueName", unique)
	return err
}

// validateGallery refuses what would be a promise that nothing here keeps.
func validateGallery(w *provider.Write) []*arm.Error {
	var b galleryBody
	errs := decode(w.Doc.Body, &b)
	if b.Properties.SoftDeletePolicy.IsSoftDeleteEnabled {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.softDeletePolicy.isSoftDeleteEnabled",
			"Soft delete is not offered here. Protect versions with safetyProfile.blockDeletionBeforeEndOfLife instead."))
	}
	if p := b.Properties.SharingProfile.Permissions; p != "" && !strings.EqualFold(p, "Private") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.sharingProfile.permissions",
			"The sharing permission '%s' is not offered here; galleries are shared through role assignments ('Private').", p))
	}
	return errs
}

// commitGallery keeps names unique in a subscription, as Azure does, and counts.
func commitGallery(tx store.Tx, w *provider.Write) error {
	if !w.Create() {
		return nil
	}
	all, err := tx.List(store.Query{Type: TypeGallery, SubscriptionID: w.ID.Subscription()})
	if err != nil {
		return err
	}
	here := 0
	for _, d := range all {
		if strings.EqualFold(d.ARMID().Name(), w.ID.Name()) {
			return arm.Conflict(arm.CodeConflict, w.ID.String(), "The gallery name '%s' is not unique within the subscription '%s': '%s' has it. Please pick another gallery name.",
				w.ID.Name(), w.ID.Subscription(), d.ID)
		}
		if d.Location == w.Doc.Location {
			here++
		}
	}
	return withinQuota(here, maxGalleries, "galleries", w)
}

// countAt is how many documents of the type the subscription has in the location;
// it stops counting at limit.
func countAt(tx store.Tx, w *provider.Write, limit int) (int, error) {
	docs, err := tx.List(store.Query{Type: w.Type.Type, SubscriptionID: w.ID.Subscription(), Location: w.Doc.Location, Limit: limit})
	return len(docs), err
}

func withinQuota(have, limit int, what string, w *provider.Write) error {
	if have < limit {
		return nil
	}
	return arm.Conflict("OperationNotAllowed", w.ID.String(),
		"The subscription has %d %s in '%s', and that is the limit. Delete some that are no longer needed.", limit, what, w.Doc.Location)
}
