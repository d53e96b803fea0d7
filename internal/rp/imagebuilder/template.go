package imagebuilder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
)

// notPartOfTheRecipe is what a template's document has besides what it was asked for,
// or may change while it lives.
var notPartOfTheRecipe = []string{"properties.provisioningState", "properties.provisioningError", "properties.lastRunStatus",
	"properties.exactStagingResourceGroup", "properties.source.exactVersion"}

// readRecipe reads a template's document. Its mistakes are ARM's errors, all of them.
func readRecipe(body json.RawMessage) (*image.Recipe, []*arm.Error) {
	for _, path := range notPartOfTheRecipe {
		body = arm.Remove(body, path)
	}
	recipe, err := image.FromTemplate(withoutUnsetMajor(body), image.ParseOptions{})
	if err == nil {
		return recipe, nil
	}
	var problems image.Problems
	if !errors.As(err, &problems) {
		return nil, []*arm.Error{invalid("properties", "%v", err)}
	}
	var errs []*arm.Error
	for _, p := range problems {
		text := p.Message
		if p.Hint != "" {
			text += " (" + p.Hint + ")"
		}
		errs = append(errs, invalid(propertyPath(p.Path), "%s", text))
	}
	return nil, errs
}

// withoutUnsetMajor removes versioning.major from distributions where it is -1, which is
// Azure's way to say that it is not set.
func withoutUnsetMajor(body json.RawMessage) json.RawMessage {
	const path = "properties.distribute"
	var all []json.RawMessage
	raw, ok := arm.Get(body, path)
	if !ok || json.Unmarshal(raw, &all) != nil {
		return body
	}
	for i, d := range all {
		if major, ok := arm.Get(d, "versioning.major"); ok && string(major) == "-1" {
			all[i] = arm.Remove(d, "versioning.major")
		}
	}
	changed, err := arm.Set(body, path, all)
	if err != nil {
		return body
	}
	return changed
}

func propertyPath(path string) string {
	if path == "" || strings.HasPrefix(path, "properties") {
		return path
	}
	return "properties." + path
}

func invalid(target, format string, args ...any) *arm.Error {
	return arm.BadRequest("ValidationFailed", target, "Validation failed: %s: "+format, append([]any{target}, args...)...)
}

// loadTemplate looks at what the template names, as the caller: nobody builds from
// an image that he may not read.
func (s *service) loadTemplate(ctx context.Context, w *provider.Write) error {
	if !w.Create() {
		return nil
	}
	recipe, errs := readRecipe(w.Doc.Body)
	if errs != nil {
		return nil // Validate says so
	}
	_, err := s.findSource(ctx, w.Client, recipe.Source, w.Doc.Location)
	return err
}

func defaultTemplate(w *provider.Write) error {
	const timeout = "properties.buildTimeoutInMinutes"
	if v, there := arm.Get(w.Doc.Body, timeout); there && string(v) != "0" {
		return nil
	}
	var err error
	w.Doc.Body, err = arm.Set(w.Doc.Body, timeout, 240) // Azure's default; 0 asks for it
	return err
}

func validateTemplate(w *provider.Write) []*arm.Error {
	recipe, errs := readRecipe(w.Doc.Body)
	if errs != nil {
		return errs
	}
	errs = append(errs, notOffered(recipe)...)
	errs = append(errs, validateOutputs(recipe)...)
	if w.Old != nil && !sameRecipe(w.Old.Body, w.Doc.Body) {
		errs = append(errs, arm.Conflict(arm.CodeConflict, "properties",
			"Update/Upgrade of image templates is currently not supported. Only identity, tags and vmProfile of a template can be changed. Please change the name of the template you are submitting, or delete it first and then resubmit."))
	}
	return errs
}

// notOffered refuses what would be accepted now and fail, or be left out, later.
func notOffered(r *image.Recipe) (errs []*arm.Error) {
	for i, c := range r.Customize {
		if c.Type != image.KindShell && c.Type != image.KindFile {
			errs = append(errs, invalid(fmt.Sprintf("properties.customize[%d].type", i), "'%s' needs Windows; images of Linux are built here, with Shell and File.", c.Type))
		}
	}
	for property, uri := range map[string]string{"uri": r.Source.URI, "checksumUri": r.Source.ChecksumURI} {
		if uri != "" && !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "http://") {
			errs = append(errs, invalid("properties.source."+property, "'%.200s' is not an http or https URI; the server's own files are not read.", uri))
		}
	}
	for _, in := range r.Inputs() {
		if in.Local {
			errs = append(errs, invalid("properties", "'%s' is not a URI; a file has to be embedded in the template or be reachable by https.", in.URI))
		}
	}
	if len(r.Distribute) == 0 {
		errs = append(errs, invalid("properties.distribute", "at least one distribution is needed."))
	}
	return errs
}

// validateOutputs: each distribution has a name of its own and somewhere to go.
func validateOutputs(r *image.Recipe) (errs []*arm.Error) {
	seen := map[string]bool{}
	for i, d := range r.Distribute {
		at := fmt.Sprintf("properties.distribute[%d]", i)
		name := strings.ToLower(d.RunOutputName)
		if !templateName.MatchString(d.RunOutputName) {
			errs = append(errs, invalid(at+".runOutputName", "the name '%.80s' must be 1 to 64 letters, digits, dashes, underscores and full stops.", d.RunOutputName))
		}
		if seen[name] {
			errs = append(errs, invalid(at+".runOutputName", "the name '%s' is used by another distribution of this template.", d.RunOutputName))
		}
		seen[name] = true
		errs = append(errs, validateTarget(at, d)...)
	}
	return errs
}

func validateTarget(at string, d image.Distributor) []*arm.Error {
	wrong := func(property, id string, types ...arm.Type) []*arm.Error {
		parsed, err := arm.ParseID(id)
		for _, t := range types {
			if err == nil && parsed.Type().Equal(t) {
				return nil
			}
		}
		return []*arm.Error{invalid(at+"."+property, "'%.200s' is not the id of a %s.", id, types[0])}
	}
	switch d.Type {
	case "SharedImage":
		return wrong("galleryImageId", d.GalleryImageID, typeDefinition, typeVersion)
	case "ManagedImage":
		return wrong("imageId", d.ImageID, typeImage)
	case "VHD":
		if d.URI != "" {
			return []*arm.Error{invalid(at+".uri", "a VHD is kept here and downloaded from its artifactUri; leave the uri out.")}
		}
	}
	return nil
}

// sameRecipe reports whether two documents ask for the same, apart from what may change.
func sameRecipe(a, b json.RawMessage) bool { return bytes.Equal(recipeText(a), recipeText(b)) }

func recipeText(body json.RawMessage) []byte {
	for _, path := range append([]string{"properties.vmProfile"}, notPartOfTheRecipe...) {
		body = arm.Remove(body, path)
	}
	properties, _ := arm.Get(body, "properties")
	var v any
	if json.Unmarshal(properties, &v) != nil {
		return properties
	}
	text, _ := json.Marshal(v) // writes properties in the order of their names
	return text
}
