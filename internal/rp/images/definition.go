package images

import (
	"bytes"
	"encoding/json"
	"errors"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
)

// definition is what a client writes of a pipeline.
type definition struct {
	Location   string
	Properties struct {
		// Recipe is a recipe with its files in it: an object, or YAML as a string.
		Recipe json.RawMessage
		// BuildResourceGroup holds what builds make; GROUP-build unless set.
		BuildResourceGroup string
		// Target names the endpoint to publish to; empty is this control plane.
		Target string
		// GalleryResourceGroup and Subscription are where the gallery is; the
		// pipeline's own unless set.
		GalleryResourceGroup, Subscription string
	}
}

func readDefinition(body json.RawMessage) (definition, error) {
	var d definition
	if err := json.Unmarshal(body, &d); err != nil {
		return d, arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The pipeline cannot be read: %v.", err)
	}
	return d, nil
}

// recipeText is a recipe's text, whichever way it was sent.
func recipeText(raw json.RawMessage) []byte {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	return bytes.TrimSpace(raw)
}

func parse(raw json.RawMessage) (*image.Recipe, error) {
	return image.ParseRecipe(recipeText(raw), image.ParseOptions{})
}

// validatePipeline reports every mistake of the recipe at once.
func validatePipeline(w *provider.Write) []*arm.Error {
	d, err := readDefinition(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.AsError(err)}
	}
	if len(d.Properties.Recipe) == 0 {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "properties.recipe", "A pipeline needs a recipe: an object, or YAML as a string.")}
	}
	_, err = parse(d.Properties.Recipe)
	var problems image.Problems
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &problems):
		return []*arm.Error{arm.BadRequest("InvalidRecipe", "properties.recipe", "%v", err)}
	}
	var found []*arm.Error
	for _, problem := range problems {
		found = append(found, arm.BadRequest("InvalidRecipe", "properties.recipe."+problem.Path, "%s", problem.Error()))
	}
	return found
}

// defaultPipeline records the digest of a valid recipe.
func defaultPipeline(w *provider.Write) error {
	d, err := readDefinition(w.Doc.Body)
	if err != nil || len(d.Properties.Recipe) == 0 {
		return nil // Validate says so
	}
	recipe, err := parse(d.Properties.Recipe)
	if err != nil {
		return nil // Validate says so
	}
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.recipeDigest", recipe.Digest())
	return err
}
