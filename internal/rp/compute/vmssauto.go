package compute

import (
	"context"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Automatic upgrades of the system's image: a set whose policy has enableAutomaticOSUpgrade
// and whose model names an image definition moves to each version that becomes the latest, by
// a rolling upgrade.

// followsImages notes, for those that a new version has to wake, whether the set upgrades by
// itself.
func (v *setWork) followsImages() bool {
	definition, ok := v.body.definition()
	if ok = ok && v.body.Properties.UpgradePolicy.AutomaticOSUpgradePolicy.EnableAutomaticOSUpgrade && !v.Doc.Deleting; !ok {
		v.following.forget(v.Doc.Key)
		return false
	}
	v.following.remember(v.Doc.Key, definition.Key())
	return true
}

// definition is the image definition whose latest version the model asks for.
func (b setBody) definition() (id arm.ID, ok bool) {
	id, err := arm.ParseID(arm.GetString(b.Properties.VirtualMachineProfile, "storageProfile.imageReference.id"))
	switch {
	case err != nil:
		return id, false
	case id.Type().Equal(typeGalleryVersion) && strings.EqualFold(id.Name(), "latest"):
		return id.Parent(), true
	}
	return id, id.Type().Equal(typeGalleryImage)
}

// wakeFollowers wakes the sets that follow a version's definition.
func (s *service) wakeFollowers(key string, _ *store.Document) []string {
	id, err := arm.ParseID(key)
	if err != nil {
		return nil
	}
	return s.following.of(id.Parent().Key())
}

// upgradeByItself begins a rolling upgrade if a member runs something else than the latest
// version. A version that is not here yet, or cannot be used, wakes the set again when that
// changes.
func (v *setWork) upgradeByItself(ctx context.Context) error {
	definition, _ := v.body.definition()
	image, err := v.resolve(ctx, v.Client, v.Doc.Location, imageReference{ID: definition.String()}, v.ID.Subscription())
	if err != nil || strings.EqualFold(image.ImageID, v.state.Tried) {
		return nil // nothing to move to
	}
	var behind []string
	for _, d := range v.members {
		if _, p := readVM(d); madeBySet(d) && !strings.EqualFold(p.ImageID, image.ImageID) {
			behind = append(behind, d.ARMID().Name())
		}
	}
	if len(behind) == 0 {
		return nil
	}
	v.Log.Info("a scale set moves to a new image by itself", "scaleSet", v.Doc.ID, "image", image.ImageID)
	v.state.Tried, v.state.Round = image.ImageID, rollingOver(behind, v.body, v.Now())
	v.state.Round.Rolling.ByItself = true
	return v.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(v.state)
		d.Set("properties.provisioningState", arm.StateUpdating)
	})
}
