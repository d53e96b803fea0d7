package imagebuilder

import (
	"context"
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
)

// sourceImage is a source as far as documents tell.
type sourceImage struct {
	id      string // of the version or managed image
	digest  string // in the content store; "" for what Sources finds
	version string // of a gallery version
	// ownBoot: it boots by a boot loader that is not ours (see tagBoot).
	ownBoot bool
}

// tagBoot marks images that boot /vmlinuz and /initrd.img through the fixed entry of our
// own bases, so that a step may change the kernel without a machine. It goes with the image
// from version to version.
const (
	tagBoot      = "hallmark-boot"
	tagBootFixed = "fixed"
)

type sourceBody struct {
	ID         string
	Location   string
	Tags       map[string]string
	Properties struct {
		ProvisioningState string
		Hallmark          struct{ ImageDigest string }
		StorageProfile    struct{ OSDisk struct{ OSState string } }
		PublishingProfile struct {
			ExcludeFromLatest bool
			TargetRegions     []struct {
				Name              string
				ExcludeFromLatest *bool
			}
		}
	}
}

// findSource reads what a source names, with the rights of the client. Marketplace
// images and URLs are looked for when the template is run.
func (s *service) findSource(ctx context.Context, client provider.Client, src image.Source, location string) (sourceImage, error) {
	switch src.Type {
	case "ManagedImage":
		return findManaged(ctx, client, src.ImageID, location)
	case "SharedImageVersion":
		return findShared(ctx, client, src.ImageVersionID, location)
	}
	return sourceImage{}, nil
}

func findManaged(ctx context.Context, client provider.Client, text, location string) (sourceImage, error) {
	const at = "properties.source.imageId"
	id, err := arm.ParseID(text)
	if err != nil || !id.Type().Equal(typeImage) {
		return sourceImage{}, invalid(at, "'%.200s' is not the id of a managed image.", text)
	}
	b, err := readSource(ctx, client, id, at)
	if err != nil {
		return sourceImage{}, err
	}
	if arm.NormalLocation(b.Location) != location {
		return sourceImage{}, invalid(at, "the managed image is in '%s'; it has to be in the template's location '%s'.", b.Location, location)
	}
	if strings.EqualFold(b.Properties.StorageProfile.OSDisk.OSState, "Specialized") {
		return sourceImage{}, invalid(at, "the managed image is specialized; only generalized images can be built on.")
	}
	return b.ready(id, at)
}

// findShared: the version has to be in the template's location; /versions/latest is
// what is latest there.
func findShared(ctx context.Context, client provider.Client, text, location string) (sourceImage, error) {
	const at = "properties.source.imageVersionId"
	id, err := arm.ParseID(text)
	if err != nil || !id.Type().Equal(typeVersion) {
		return sourceImage{}, invalid(at, "'%.200s' is not the id of a gallery image version (…/versions/1.0.0 or …/versions/latest).", text)
	}
	if strings.EqualFold(id.Name(), "latest") {
		if id, err = latestIn(ctx, client, id.Parent(), location); err != nil {
			return sourceImage{}, err
		}
	}
	b, err := readSource(ctx, client, id, at)
	if err != nil {
		return sourceImage{}, err
	}
	if !b.in(location) {
		return sourceImage{}, invalid(at, "the gallery image version %s is not replicated to the template's location '%s'.", id, location)
	}
	found, err := b.ready(id, at)
	found.version = id.Name()
	return found, err
}

func readSource(ctx context.Context, client provider.Client, id arm.ID, at string) (b sourceBody, err error) {
	raw, err := client.Get(ctx, id)
	if arm.IsNotFound(err) {
		return b, invalid(at, "the source image %s does not exist.", id)
	}
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(raw, &b)
}

func (b sourceBody) in(location string) bool {
	for _, t := range b.Properties.PublishingProfile.TargetRegions {
		if arm.NormalLocation(t.Name) == location {
			return true
		}
	}
	return false
}

func (b sourceBody) ready(id arm.ID, at string) (sourceImage, error) {
	digest := b.Properties.Hallmark.ImageDigest
	if b.Properties.ProvisioningState != string(arm.StateSucceeded) || digest == "" {
		return sourceImage{}, invalid(at, "the source image %s is in the state '%s'; wait until it has Succeeded.", id, b.Properties.ProvisioningState)
	}
	return sourceImage{id: id.String(), digest: digest, ownBoot: b.Tags[tagBoot] != tagBootFixed}, nil
}

func latestIn(ctx context.Context, client provider.Client, definition arm.ID, location string) (arm.ID, error) {
	all, err := client.List(ctx, definition, typeVersion)
	if err != nil {
		return arm.ID{}, err
	}
	var candidates []image.Candidate
	for _, raw := range all {
		var b sourceBody
		if err := json.Unmarshal(raw, &b); err != nil {
			return arm.ID{}, err
		}
		v, err := image.ParseVersion(b.ID[strings.LastIndexByte(b.ID, '/')+1:])
		if err == nil && b.in(location) && b.Properties.ProvisioningState == string(arm.StateSucceeded) {
			candidates = append(candidates, image.Candidate{Version: v, ExcludeFromLatest: b.excluded(location)})
		}
	}
	v, ok := image.Latest(candidates)
	if !ok {
		return arm.ID{}, invalid("properties.source.imageVersionId", "there is no latest image version of %s in '%s': every version is excluded from latest, not ready, or elsewhere.", definition, location)
	}
	return definition.Child("versions", v.String()), nil
}

// excluded: what a region says goes before what the version says.
func (b sourceBody) excluded(location string) bool {
	for _, t := range b.Properties.PublishingProfile.TargetRegions {
		if arm.NormalLocation(t.Name) == location && t.ExcludeFromLatest != nil {
			return *t.ExcludeFromLatest
		}
	}
	return b.Properties.PublishingProfile.ExcludeFromLatest
}
