package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
)

// distributionError says which distributions failed.
type distributionError struct{ failures []string }

func (e *distributionError) Error() string {
	return "The image was built, but not everything was distributed. " + strings.Join(e.failures, " ")
}

// distribute hands the finished image to each target. One that fails does not keep it
// from the others.
func (r *runner) distribute(ctx context.Context, recipe *image.Recipe) error {
	var failed distributionError
	for _, d := range recipe.Distribute {
		err := r.distributeOne(ctx, d)
		if stop := errors.Join(context.Cause(ctx), lost(err)); stop != nil {
			return stop
		}
		if err != nil {
			failed.failures = append(failed.failures, fmt.Sprintf("%s '%s': %v.", d.Type, d.RunOutputName, strings.TrimSuffix(err.Error(), ".")))
		}
	}
	if len(failed.failures) > 0 {
		return &failed
	}
	return nil
}

// lost is the error if it says that a record was not written, or that the template goes.
func lost(err error) error {
	if errors.Is(err, errLost) || errors.Is(err, errDeleting) {
		return err
	}
	return nil
}

func (r *runner) distributeOne(ctx context.Context, d image.Distributor) error {
	if o := r.output(d); o.Done {
		return nil
	}
	if err := r.status(ctx, subDistributing, fmt.Sprintf("Distributing '%s' (%s).", d.RunOutputName, d.Type)); err != nil {
		return err
	}
	r.say(stageDistribute, "distributing %s (%s)", d.RunOutputName, d.Type)
	var err error
	switch d.Type {
	case "SharedImage":
		err = r.toGallery(ctx, d)
	case "ManagedImage":
		err = r.toManagedImage(ctx, d)
	case "VHD":
		err = r.toVHD(ctx, d)
	default:
		err = fmt.Errorf("a distribution of type '%s' is not known", d.Type)
	}
	if err != nil {
		return err
	}
	if err := putOutput(ctx, r.w, d.RunOutputName, r.output(d)); err != nil {
		return errors.Join(errLost, err)
	}
	return r.record(ctx, d, func(o *output) { o.Done = true })
}

// output is what is recorded of a distribution.
func (r *runner) output(d image.Distributor) output {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.run.Outputs[strings.ToLower(d.RunOutputName)]; o != nil {
		return *o
	}
	return output{}
}

func (r *runner) record(ctx context.Context, d image.Distributor, change func(*output)) error {
	return r.update(ctx, func(_ *provider.Draft, run *run) { change(run.output(strings.ToLower(d.RunOutputName))) })
}

// make creates a resource under an id that is recorded before, and waits for it. That it
// is there already is fine if it was begun by this run.
func (r *runner) make(ctx context.Context, d image.Distributor, id arm.ID, body any) error {
	client := r.w.Client.As(r.run.Principal)
	if err := r.record(ctx, d, func(o *output) { o.ID, o.Begun = id.String(), true }); err != nil {
		return err
	}
	_, err := client.Create(ctx, id, body)
	if err != nil && r.isOurs(ctx, id) {
		err = nil // made before a kill, or although the answer said otherwise
	}
	if err != nil {
		return errors.Join(err, r.record(ctx, d, func(o *output) { o.Begun = false })) // nothing of ours is there
	}
	return r.await(ctx, client, id)
}

func taken(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && e.Status == http.StatusPreconditionFailed
}

// isOurs reports whether the resource was made from the image of this run: its bytes'
// name says so.
func (r *runner) isOurs(ctx context.Context, id arm.ID) bool {
	raw, err := r.w.Client.Get(ctx, id)
	if err != nil {
		return false
	}
	for _, path := range []string{"properties.storageProfile.osDiskImage.source.uri", "properties.storageProfile.osDisk.blobUri"} {
		if arm.GetString(raw, path) == r.run.Artifact {
			return true
		}
	}
	return false
}

// withdraw takes back what the run began and did not finish, so that nothing
// half-published is left.
func (r *runner) withdraw(ctx context.Context) error {
	for name, o := range r.run.Outputs {
		if o.Done || !o.Begun || o.ID == "" {
			continue
		}
		id, err := arm.ParseID(o.ID)
		if err != nil || !r.isOurs(ctx, id) {
			continue
		}
		if err := r.w.Client.Delete(ctx, id); err != nil {
			r.Log.WarnContext(ctx, "what a run began to publish could not be taken back", "template", r.w.Doc.ID, "output", name, "resource", o.ID, "error", err)
		}
	}
	return r.removeMachine(ctx)
}

// toGallery publishes a version: the one that is named, or the next.
func (r *runner) toGallery(ctx context.Context, d image.Distributor) error {
	client := r.w.Client.As(r.run.Principal)
	id, err := r.versionID(ctx, client, d)
	if err != nil {
		return err
	}
	definition, err := client.Get(ctx, id.Parent())
	if err != nil {
		return err
	}
	body := r.versionBody(d, arm.NormalLocation(arm.GetString(definition, "location")))
	for automatic := !namesVersion(d); ; {
		err := r.make(ctx, d, id, body)
		if !automatic || !taken(err) {
			return err
		}
		// Somebody else published that number meanwhile.
		if id, err = r.nextVersion(ctx, client, id.Parent(), d); err != nil {
			return err
		}
	}
}

func namesVersion(d image.Distributor) bool {
	id, err := arm.ParseID(d.GalleryImageID)
	return err == nil && id.Type().Equal(typeVersion)
}

func (r *runner) versionID(ctx context.Context, client provider.Client, d image.Distributor) (arm.ID, error) {
	if o := r.output(d); o.Begun && o.ID != "" {
		return arm.ParseID(o.ID)
	}
	id, err := arm.ParseID(d.GalleryImageID)
	if err != nil || namesVersion(d) {
		return id, err
	}
	return r.nextVersion(ctx, client, id, d)
}

func (r *runner) nextVersion(ctx context.Context, client provider.Client, definition arm.ID, d image.Distributor) (arm.ID, error) {
	all, err := client.List(ctx, definition, typeVersion)
	if err != nil {
		return arm.ID{}, err
	}
	var existing []image.Version
	for _, raw := range all {
		if v, err := image.ParseVersion(arm.GetString(raw, "name")); err == nil {
			existing = append(existing, v)
		}
	}
	next, err := image.NextVersion(d.Versioning, existing, r.run.SourceVersion)
	if err != nil {
		return arm.ID{}, err
	}
	return definition.Child("versions", next.String()), nil
}

// versionBody is the version as it is asked for: in the definition's location, as
// Azure's Image Builder does it.
func (r *runner) versionBody(d image.Distributor, location string) any {
	type region struct {
		Name               string `json:"name"`
		ReplicaCount       int    `json:"regionalReplicaCount,omitempty"`
		StorageAccountType string `json:"storageAccountType,omitempty"`
	}
	var regions []region
	for _, t := range d.TargetRegions {
		regions = append(regions, region(t))
	}
	for _, name := range d.ReplicationRegions {
		regions = append(regions, region{Name: name})
	}
	if len(regions) == 0 {
		regions = []region{{Name: location}}
	}
	publishing := map[string]any{"targetRegions": regions, "excludeFromLatest": d.ExcludeFromLatest}
	if d.StorageAccountType != "" {
		publishing["storageAccountType"] = d.StorageAccountType
	}
	return map[string]any{"location": location, "tags": r.tags(d), "properties": map[string]any{
		"publishingProfile": publishing,
		"storageProfile":    map[string]any{"osDiskImage": map[string]any{"source": map[string]any{"uri": r.run.Artifact}}},
	}}
}

func (r *runner) tags(d image.Distributor) map[string]string {
	all := map[string]string{}
	maps.Copy(all, d.ArtifactTags)
	if !r.run.OwnBoot {
		all[tagBoot] = tagBootFixed
	}
	return all
}

// toManagedImage replaces the image if it is there, as Azure's Image Builder does.
func (r *runner) toManagedImage(ctx context.Context, d image.Distributor) error {
	id, err := arm.ParseID(d.ImageID)
	if err != nil {
		return err
	}
	location := d.Location
	if location == "" {
		location = r.w.Doc.Location
	}
	body := managedImage(location, r.tags(d), r.run.Artifact)
	err = r.make(ctx, d, id, body)
	if !taken(err) {
		return err
	}
	client := r.w.Client.As(r.run.Principal)
	if err := client.Delete(ctx, id); err != nil {
		return err
	}
	if err := r.awaitGone(ctx, client, id); err != nil {
		return err
	}
	return r.make(ctx, d, id, body)
}

func managedImage(location string, tags map[string]string, blob string) any {
	return map[string]any{"location": location, "tags": tags, "properties": map[string]any{
		"hyperVGeneration": "V2",
		"storageProfile":   map[string]any{"osDisk": map[string]any{"osType": "Linux", "osState": "Generalized", "blobUri": blob}},
	}}
}

// toVHD keeps the image as a fixed VHD to download.
func (r *runner) toVHD(ctx context.Context, d image.Distributor) error {
	from, _, err := r.Artifacts.Resolve(r.run.Artifact)
	if err != nil {
		return err
	}
	dir, err := r.Artifacts.Scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	to := filepath.Join(dir, "image.vhd")
	if err := r.Convert(ctx, from, to); err != nil {
		return err
	}
	file, err := r.Artifacts.Put(ctx, to)
	if err != nil {
		return err
	}
	return r.record(ctx, d, func(o *output) { o.URI = r.Artifacts.URI(file.Digest) })
}
