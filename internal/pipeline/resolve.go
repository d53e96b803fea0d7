package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/lineage"
)

// engineVersion is part of every plan's digest: a change of how plans are
// carried out makes every plan a new one.
const engineVersion = "1"

// Check says whether an order makes sense.
func (o Order) Check() error {
	if o.Version == "" {
		return nil
	}
	_, err := image.ParseVersion(o.Version)
	return err
}

// resolve finds out what exactly the source is now, whether there is anything
// to build, and which version that will be.
func (d *Driver) resolve(ctx context.Context, run *Run, stage *Stage) error {
	if err := d.ensureGallery(ctx); err != nil {
		return err
	}
	source, err := d.resolveSource(ctx, run)
	if err != nil {
		return err
	}
	run.Source, run.RecipeDigest = source, d.Recipe.Digest()
	run.PlanDigest = planDigest(run.RecipeDigest, source)
	stage.Message = sourceName(source)
	versions, err := d.versions(ctx)
	if err != nil {
		return err
	}
	if existing, ok := d.upToDate(run, versions); ok {
		run.Version, run.VersionID = existing.Name, existing.ID
		run.ImageDigest = existing.Properties.Hallmark.ImageDigest
		d.settle(run, UpToDate, nil, "build anyway with --force")
		stage.Status, stage.Message = Succeeded, "version "+existing.Name+" is what a build would make"
		return nil
	}
	return d.reserve(run, versions)
}

// ensureGallery makes what a version is published into.
func (d *Driver) ensureGallery(ctx context.Context) error {
	for _, name := range []string{d.Place.Group, d.Place.BuildGroup} {
		if err := d.ensure(ctx, d.group(name), apiResources, map[string]any{"location": d.Place.Location}); err != nil {
			return err
		}
	}
	if err := d.ensure(ctx, d.galleryID(), apiGallery, map[string]any{"location": d.Place.Location, "properties": map[string]any{}}); err != nil {
		return err
	}
	return d.ensure(ctx, d.definitionID(), apiGallery, d.definitionDocument())
}

func (d *Driver) definitionDocument() any {
	definition := d.Recipe.Definition
	properties := map[string]any{
		"identifier": definition.Identifier, "osType": definition.OSType, "osState": definition.OSState,
		"hyperVGeneration": definition.HyperVGeneration, "architecture": definition.Architecture,
		"description": definition.Description,
	}
	if definition.EndOfLifeDate != "" {
		properties["endOfLifeDate"] = definition.EndOfLifeDate
	}
	return map[string]any{"location": d.Place.Location, "properties": properties}
}

// version is what the pipeline reads of a gallery image version.
type version struct {
	ID, Name   string
	Location   string
	Tags       map[string]string
	Properties struct {
		ProvisioningState string
		PublishingProfile struct {
			ExcludeFromLatest bool
			PublishedDate     time.Time
		}
		Hallmark struct{ ImageDigest string }
	}
}

func (d *Driver) versions(ctx context.Context) ([]version, error) {
	items, err := d.list(ctx, d.definitionID()+"/versions", apiGallery)
	if err != nil {
		return nil, err
	}
	all := make([]version, len(items))
	for i, item := range items {
		if err := json.Unmarshal(item, &all[i]); err != nil {
			return nil, fmt.Errorf("read version %d of %s: %w", i, d.definitionID(), err)
		}
	}
	return all, nil
}

// newest is the version that `latest` stands for.
func newest(versions []version) (version, bool) {
	var candidates []image.Candidate
	byVersion := map[image.Version]version{}
	for _, v := range versions {
		number, err := image.ParseVersion(v.Name)
		if err != nil || v.Properties.ProvisioningState != "Succeeded" {
			continue
		}
		candidates = append(candidates, image.Candidate{Version: number, ExcludeFromLatest: v.Properties.PublishingProfile.ExcludeFromLatest})
		byVersion[number] = v
	}
	latest, ok := image.Latest(candidates)
	return byVersion[latest], ok
}

// upToDate finds the published version that a build would make again. With
// IfBaseChanged only the source counts, and the version's age.
func (d *Driver) upToDate(run *Run, versions []version) (version, bool) {
	latest, ok := newest(versions)
	if !ok || run.Order.Force || run.Order.Version != "" {
		return version{}, false
	}
	if run.Order.IfBaseChanged {
		age := d.Now().Sub(latest.Properties.PublishingProfile.PublishedDate)
		old := run.Order.MaxAge > 0 && age > time.Duration(run.Order.MaxAge)*time.Second
		return latest, latest.Tags[lineage.TagSource] == tagValue(sourceName(run.Source)) && !old
	}
	return latest, latest.Tags[lineage.TagPlan] == tagValue(run.PlanDigest)
}

// reserve chooses the run's version. Nothing is written: the runs that publish
// to one definition go through this stage one after another.
func (d *Driver) reserve(run *Run, versions []version) error {
	var existing []image.Version
	for _, v := range versions {
		if number, err := image.ParseVersion(v.Name); err == nil {
			existing = append(existing, number)
		}
	}
	wanted := run.Order.Version
	if wanted == "" {
		wanted = d.Recipe.Version
		if wanted != "" && taken(existing, wanted) {
			wanted = "" // the recipe names the first version; later ones follow it
		}
	}
	if wanted == "" {
		next, err := image.NextVersion(d.Recipe.Versioning, existing, run.Source.Version)
		if err != nil {
			return failure("NoVersion", "versioning", "%v", err)
		}
		wanted = next.String()
	}
	if taken(existing, wanted) {
		return failure("VersionExists", wanted, "Version %s of %s exists already; leave the version out, or name another.", wanted, d.Recipe.Definition.Name)
	}
	run.Version, run.VersionID = wanted, d.definitionID()+"/versions/"+wanted
	return nil
}

func taken(existing []image.Version, wanted string) bool {
	for _, v := range existing {
		if v.String() == wanted {
			return true
		}
	}
	return false
}

// sourceName is a source on one line: its URN, or its id.
func sourceName(s image.ResolvedSource) string {
	if s.Publisher != "" {
		return strings.Join([]string{s.Publisher, s.Offer, s.SKU, s.Version}, ":")
	}
	return s.ID
}

// planDigest identifies what a build would make: the recipe with everything in
// it, the source's bytes or exact version, and how plans are carried out.
func planDigest(recipe string, source image.ResolvedSource) string {
	raw, _ := json.Marshal([]any{engineVersion, recipe, source})
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// resolveSource asks the endpoint what the recipe's source is now.
func (d *Driver) resolveSource(ctx context.Context, run *Run) (image.ResolvedSource, error) {
	s := d.Recipe.Source
	switch s.Type {
	case "PlatformImage":
		return d.resolvePlatformImage(ctx, run, s)
	case "SharedImageVersion":
		return d.resolveGalleryImage(ctx, s)
	case "ManagedImage":
		err := d.get(ctx, s.ImageID, apiCompute, nil)
		return image.ResolvedSource{ID: s.ImageID}, err
	}
	return image.ResolvedSource{ID: s.URI, Digest: s.SHA256Checksum}, nil
}

// platformVersion is what the pipeline reads of a marketplace version.
// Hallmark's own catalogue adds what it knows of the bytes.
type platformVersion struct {
	Name       string
	Properties struct {
		Hallmark struct{ Digest, OSID, OSVersion string }
	}
}

func (d *Driver) resolvePlatformImage(ctx context.Context, run *Run, s image.Source) (image.ResolvedSource, error) {
	resolved := image.ResolvedSource{Publisher: s.Publisher, Offer: s.Offer, SKU: s.SKU, Version: s.Version}
	path := "/subscriptions/" + d.Place.Subscription + "/providers/Microsoft.Compute/locations/" + d.Place.Location +
		"/publishers/" + s.Publisher + "/artifacttypes/vmimage/offers/" + s.Offer + "/skus/" + s.SKU + "/versions"
	if s.Version == "" || s.Version == "latest" {
		var all []platformVersion // the compute publisher tree answers bare arrays
		if err := d.get(ctx, path, apiCompute, &all); err != nil {
			return resolved, err
		}
		if len(all) == 0 {
			return resolved, failure("SourceNotFound", "source", "The marketplace has no version of %s:%s:%s in %s.", s.Publisher, s.Offer, s.SKU, d.Place.Location)
		}
		resolved.Version = latestPlatform(all)
	}
	var exact platformVersion
	if err := d.get(ctx, path+"/"+resolved.Version, apiCompute, &exact); err != nil {
		return resolved, err
	}
	h := exact.Properties.Hallmark
	resolved.Digest, run.OSID, run.OSVersion = h.Digest, h.OSID, h.OSVersion
	return resolved, nil
}

// latestPlatform orders versions by their numbers; names that are none come
// first, in order of their text.
func latestPlatform(all []platformVersion) string {
	best := all[0].Name
	for _, v := range all[1:] {
		if lessVersion(best, v.Name) {
			best = v.Name
		}
	}
	return best
}

func lessVersion(x, y string) bool {
	xs, ys := strings.Split(x, "."), strings.Split(y, ".")
	for i := 0; i < min(len(xs), len(ys)); i++ {
		if len(xs[i]) != len(ys[i]) {
			return len(xs[i]) < len(ys[i])
		}
		if xs[i] != ys[i] {
			return xs[i] < ys[i]
		}
	}
	return len(xs) < len(ys)
}

func (d *Driver) resolveGalleryImage(ctx context.Context, s image.Source) (image.ResolvedSource, error) {
	id := strings.TrimSuffix(s.ImageVersionID, "/versions/latest")
	if id == s.ImageVersionID && strings.Contains(strings.ToLower(id), "/versions/") {
		var v version
		err := d.get(ctx, id, apiGallery, &v)
		return image.ResolvedSource{ID: id, Version: v.Name, Digest: v.Properties.Hallmark.ImageDigest}, err
	}
	var all []version
	items, err := d.list(ctx, id+"/versions", apiGallery)
	if err != nil {
		return image.ResolvedSource{}, err
	}
	for _, item := range items {
		var v version
		if err := json.Unmarshal(item, &v); err != nil {
			return image.ResolvedSource{}, err
		}
		all = append(all, v)
	}
	latest, ok := newest(all)
	if !ok {
		return image.ResolvedSource{}, failure("SourceNotFound", "source", "%s has no published version to build on.", id)
	}
	return image.ResolvedSource{ID: latest.ID, Version: latest.Name, Digest: latest.Properties.Hallmark.ImageDigest}, nil
}

// maxTag is Azure's limit on a tag's value.
const maxTag = 256

func tagValue(text string) string { return text[:min(len(text), maxTag)] }
