package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/lineage"
)

// template is what the pipeline reads of an image template.
type template struct {
	Properties struct {
		ProvisioningState string
		ProvisioningError struct{ Code, Message string }
		LastRunStatus     *struct{ RunState, RunSubState, Message, RunID string }
	}
}

// build has the endpoint's Image Builder make the image and stage it as a
// version that `latest` does not see.
func (d *Driver) build(ctx context.Context, run *Run, stage *Stage) error {
	var t template
	err := d.get(ctx, d.templateID(run), apiBuilder, &t)
	if azure.IsNotFound(err) {
		document, err := d.templateDocument(run)
		if err != nil {
			return failure("InvalidRecipe", "recipe", "%v", err)
		}
		if err := d.put(ctx, d.templateID(run), apiBuilder, document); err != nil {
			return err
		}
		return errWait
	}
	if err != nil {
		return err
	}
	d.copyLog(ctx, run)
	status := t.Properties.LastRunStatus
	if status == nil {
		return d.startBuild(ctx, run, t)
	}
	run.BuildRunID = status.RunID
	return d.buildState(run, stage, status.RunState, status.RunSubState, status.Message)
}

func (d *Driver) startBuild(ctx context.Context, run *Run, t template) error {
	switch t.Properties.ProvisioningState {
	case "Succeeded":
	case "Failed":
		e := t.Properties.ProvisioningError
		return failure("TemplateRejected", d.templateID(run), "The image template was refused: %s: %s", e.Code, e.Message)
	default:
		return errWait
	}
	if err := d.post(ctx, d.templateID(run), "run", apiBuilder, d.runBody(run), nil); err != nil && !azure.IsConflict(err) {
		return err
	}
	return errWait
}

// runBody is our extension of the run request: what may not stand in a
// document. Azure gets an empty request.
func (d *Driver) runBody(run *Run) any {
	body := map[string]any{}
	if len(d.Secrets) > 0 {
		body["secrets"] = d.Secrets
	}
	if run.Order.NoCache {
		body["noCache"] = true
	}
	if len(body) == 0 {
		return nil
	}
	return body
}

func (d *Driver) buildState(run *Run, stage *Stage, state, sub, message string) error {
	switch state {
	case "Succeeded":
		stage.Message = ""
		return nil
	case "Failed", "PartiallySucceeded":
		run.Next = "mend the step and build again: finished steps are reused"
		if run.BuildRunID != "" { // only our own builder keeps the state of a failed step
			run.Next += "; look into a failed step with: hallmark image shell " + run.ID
		}
		return failure("BuildFailed", run.Version, "%s", message)
	case "Canceled":
		return failure("BuildCanceled", run.Version, "The build was canceled on the endpoint.")
	}
	if sub != "" {
		stage.Message = sub
	}
	return errWait
}

func (d *Driver) templateDocument(run *Run) (any, error) {
	if err := d.writeTattoo(run); err != nil {
		return nil, err
	}
	recipe := *d.Recipe
	if recipe.Source.Type == "PlatformImage" {
		recipe.Source.Version = run.Source.Version // what was resolved is what is built
	}
	if recipe.Source.Type == "SharedImageVersion" {
		recipe.Source.ImageVersionID = run.Source.ID
	}
	rendered, err := recipe.ToTemplate(image.TemplateInput{
		SubscriptionID: d.Place.Subscription, ResourceGroup: d.Place.Group,
		Version: run.Version, Staged: true, Regions: []string{d.Place.Location},
		Tags:     map[string]string{lineage.TagState: lineage.MarkStaged, lineage.TagRun: run.ID},
		Portable: d.Portable, Tattoo: []byte(run.Tattoo), TattooSignature: []byte(run.Signature),
	})
	if err != nil {
		return nil, err
	}
	properties := rendered.Properties
	if rendered.Extensions != nil {
		properties[image.ExtensionsField] = rendered.Extensions
	}
	return map[string]any{"location": d.Place.Location, "identity": d.Identity, "properties": properties}, nil
}

// writeTattoo settles what the image will say of itself. The run keeps it: the
// tests compare the booted machine with it.
func (d *Driver) writeTattoo(run *Run) error {
	tattoo, err := image.Tattoo(d.facts(run))
	if err != nil {
		return fmt.Errorf("write the tattoo: %w", err)
	}
	signature, err := d.Signer.SignTattoo(tattoo)
	if err != nil {
		return fmt.Errorf("sign the tattoo: %w", err)
	}
	run.Tattoo, run.Signature = string(tattoo), string(signature)
	return nil
}

// facts are what the tattoo says. The publish date is that of staging: staged
// bytes never change, so a later date cannot stand in them.
func (d *Driver) facts(run *Run) image.Facts {
	now := d.Now().UTC().Format(time.RFC3339)
	return image.Facts{
		SourcePublisher: run.Source.Publisher, SourceOffer: run.Source.Offer, SourceSKU: run.Source.SKU,
		SourceVersion: run.Source.Version, SourceDigest: run.Source.Digest,
		OSID: run.OSID, OSVersion: run.OSVersion,
		ImageGalleryID: d.galleryID(), ImageDefinition: d.Recipe.Definition.Name, ImageVersion: run.Version,
		RecipeDigest: run.RecipeDigest, GitCommit: run.Order.GitCommit, RunID: run.ID,
		BuildDate: now, PublishDate: now, Custom: d.Recipe.Tattoo,
	}
}

// stage waits until the version that the build made is there.
func (d *Driver) stage(ctx context.Context, run *Run, stage *Stage) error {
	if err := d.versionReady(ctx, run, stage); err != nil {
		return err
	}
	stage.Message = run.ImageDigest
	return nil
}

// copyLog takes over what the build has logged. Only Hallmark's own control
// plane can be asked for it; elsewhere the run's log has the stages only.
func (d *Driver) copyLog(ctx context.Context, run *Run) {
	for {
		var page struct {
			Events []json.RawMessage
			Next   int64
		}
		request := azure.Request{
			Method: http.MethodGet, Path: d.templateID(run) + "/readLog", APIVersion: apiBuilder,
			Query: url.Values{"offset": {strconv.FormatInt(run.LogOffset, 10)}},
		}
		if d.Cloud.Do(ctx, request, &page) != nil || len(page.Events) == 0 {
			return
		}
		for _, raw := range page.Events {
			var e Event
			if json.Unmarshal(raw, &e) == nil {
				if e.Step == "" { // the builder's own stages: source, base, seal
					e.Message = strings.TrimSpace(e.Stage + "  " + e.Message)
				}
				e.Stage = StageBuild
				d.Log(e)
			}
		}
		run.LogOffset = page.Next
	}
}
