package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/lineage"
)

// promote shows a version that has passed its tests to everybody: `latest`
// sees it, and it is replicated to every region.
func (d *Driver) promote(ctx context.Context, run *Run, stage *Stage) error {
	var document map[string]any
	if err := d.get(ctx, run.VersionID, apiGallery, &document); err != nil {
		return err
	}
	if err := d.sign(run); err != nil {
		return err
	}
	tags, _ := document["tags"].(map[string]any)
	if tags[lineage.TagState] != lineage.MarkPublished {
		if err := d.put(ctx, run.VersionID, apiGallery, d.promoted(run, document)); err != nil {
			return err
		}
		return errWait
	}
	if err := d.versionReady(ctx, run, stage); err != nil {
		return err
	}
	stage.Message = "latest in " + strings.Join(d.regions(), ", ")
	return nil
}

// sign makes the run's statement once.
func (d *Driver) sign(run *Run) error {
	if run.Statement != nil {
		return nil
	}
	statement, err := d.statement(run)
	if err != nil {
		return failure("SigningFailed", "statement", "The statement about %s cannot be made: %v.", run.Version, err)
	}
	envelope, err := d.Signer.SignStatement(statement)
	if err != nil {
		return failure("SigningFailed", "statement", "The statement about %s cannot be signed: %v.", run.Version, err)
	}
	run.Statement = &envelope
	return nil
}

// promoted is the version's document as it shall be. Tags and fields that
// others have put there stay.
func (d *Driver) promoted(run *Run, document map[string]any) map[string]any {
	tags, _ := document["tags"].(map[string]any)
	if tags == nil {
		tags = map[string]any{}
	}
	for name, value := range d.promotionTags(run) {
		if value != "" {
			tags[name] = tagValue(value)
		}
	}
	profile := map[string]any{"excludeFromLatest": false, "targetRegions": d.targetRegions()}
	if l := d.Recipe.Lifecycle; l != nil && l.EndOfLifeAfter.Std() > 0 {
		profile["endOfLifeDate"] = d.Now().UTC().Add(l.EndOfLifeAfter.Std()).Format(time.RFC3339)
	}
	return map[string]any{
		"location": document["location"], "tags": tags,
		// An empty storage profile keeps the source that is stored.
		"properties": map[string]any{"publishingProfile": profile, "storageProfile": map[string]any{}},
	}
}

// promotionTags are what a gallery has to know of a version for itself.
func (d *Driver) promotionTags(run *Run) map[string]string {
	return map[string]string{
		lineage.TagState: lineage.MarkPublished, lineage.TagPromoted: d.Now().UTC().Format(time.RFC3339),
		lineage.TagPlan: run.PlanDigest, lineage.TagRecipe: run.RecipeDigest, lineage.TagCommit: run.Order.GitCommit,
		lineage.TagSource: sourceName(run.Source), lineage.TagSourceDigest: run.Source.Digest,
		lineage.TagImageDigest: run.ImageDigest, lineage.TagRun: run.ID,
		lineage.TagLifecycleCurrent: strconv.Itoa(d.current()),
	}
}

// current is how many of the newest versions count as approved.
func (d *Driver) current() int {
	if l := d.Recipe.Lifecycle; l != nil && l.Current > 0 {
		return l.Current
	}
	return defaultCurrent
}

const defaultCurrent = 2

func (d *Driver) regions() []string {
	if len(d.Recipe.Regions) > 0 {
		return d.Recipe.Regions
	}
	return []string{d.Place.Location}
}

func (d *Driver) targetRegions() []any {
	var regions []any
	for _, name := range d.regions() {
		regions = append(regions, map[string]any{"name": name, "regionalReplicaCount": 1})
	}
	return regions
}

// versionReady waits until a version has its bytes in every region.
func (d *Driver) versionReady(ctx context.Context, run *Run, stage *Stage) error {
	var v struct {
		provisioned
		Properties struct {
			ProvisioningState string
			Hallmark          struct{ ImageDigest string }
		}
	}
	if err := d.get(ctx, run.VersionID, apiGallery, &v); err != nil {
		return err
	}
	v.provisioned.Properties.ProvisioningState = v.Properties.ProvisioningState
	if err := v.ready(run.VersionID); err != nil {
		return err
	}
	run.ImageDigest = v.Properties.Hallmark.ImageDigest
	return nil
}

// age marks the versions that are now too old to be current. Marks travel as
// tags, so that they hold wherever the gallery is read.
func (d *Driver) age(ctx context.Context, run *Run, stage *Stage) error {
	versions, err := d.versions(ctx)
	if err != nil {
		return err
	}
	aged := 0
	for _, v := range d.beyondCurrent(versions) {
		if v.Tags[lineage.TagState] != lineage.MarkPublished {
			continue // aged, revoked and staged versions keep their mark
		}
		if err := d.mark(ctx, v, lineage.MarkAged); err != nil {
			return err
		}
		aged++
	}
	if aged > 0 {
		stage.Message = "earlier versions are marked as aged"
		return errWait
	}
	run.Next = "create machines from it: hallmark vm create NAME --image " + d.Recipe.Gallery + "/" + d.Recipe.Definition.Name
	return nil
}

// beyondCurrent are the published versions behind the newest lifecycle.current.
func (d *Driver) beyondCurrent(versions []version) []version {
	current := d.current()
	var older []version
	for range len(versions) {
		v, ok := newest(versions)
		if !ok {
			break
		}
		if current--; current < 0 {
			older = append(older, v)
		}
		versions = without(versions, v.Name)
	}
	return older
}

func without(versions []version, name string) []version {
	var rest []version
	for _, v := range versions {
		if v.Name != name {
			rest = append(rest, v)
		}
	}
	return rest
}

func (d *Driver) mark(ctx context.Context, v version, mark string) error {
	tags := map[string]any{}
	for key, value := range v.Tags {
		tags[key] = value
	}
	tags[lineage.TagState] = mark
	return d.patch(ctx, v.ID, apiGallery, map[string]any{"tags": tags})
}

// statement says which bytes were promoted, made from what, and tested how.
func (d *Driver) statement(run *Run) (attest.Statement, error) {
	tattoo := sha256.Sum256([]byte(run.Tattoo))
	return attest.NewStatement(run.VersionID, run.ImageDigest, attest.PredicatePromotion, attest.Promotion{
		VersionID: run.VersionID, RunID: run.ID, Source: run.Source, RecipeDigest: run.RecipeDigest, PlanDigest: run.PlanDigest,
		TattooDigest: "sha256:" + hex.EncodeToString(tattoo[:]), PromotedAt: d.Now().UTC(), Tests: testResult(run),
	})
}

func testResult(run *Run) attest.TestResult {
	result := attest.TestResult{Result: "PASSED", Configuration: []attest.ResourceDescriptor{{
		Name: "recipe", Digest: map[string]string{"sha256": strings.TrimPrefix(run.RecipeDigest, "sha256:")},
	}}}
	for _, test := range run.Tests.Results {
		switch test.Status {
		case image.StatusPassed:
			result.PassedTests = append(result.PassedTests, test.Name)
		case image.StatusFailed: // only where somebody promotes a version by hand
			result.Result, result.FailedTests = "FAILED", append(result.FailedTests, test.Name)
		default:
			result.WarnedTests = append(result.WarnedTests, test.Name)
		}
	}
	return result
}
