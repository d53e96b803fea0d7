package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// TemplateType is the resource type of an Image Builder template.
const TemplateType = "Microsoft.VirtualMachineImages/imageTemplates"

// ExtensionsField is the property under which Hallmark's own control plane
// accepts [Template.Extensions]. Azure never gets to see it.
const ExtensionsField = "hallmark"

// templateFields are the recipe's fields that Image Builder has too.
var templateFields = []string{"source", "customize", "validate", "distribute", "vmProfile", "buildTimeoutInMinutes", "errorHandling", "optimize"}

// ignoredFields are Image Builder's fields that say nothing about the image:
// how Azure keeps house, and what it reports back.
var ignoredFields = []string{"managedResourceTags", "stagingResourceGroup", "autoRun", "provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"}

// azureStepFields are the fields of a step that Image Builder has too.
var azureStepFields = map[string][]string{
	"Shell":          {"type", "name", "inline", "scriptUri", "sha256Checksum"},
	"File":           {"type", "name", "sourceUri", "destination", "sha256Checksum"},
	"PowerShell":     {"type", "name", "inline", "scriptUri", "sha256Checksum", "validExitCodes", "runElevated", "runAsSystem"},
	"WindowsRestart": {"type", "name", "restartCommand", "restartCheckCommand", "restartTimeout"},
	"WindowsUpdate":  {"type", "name", "searchCriteria", "filters", "updateLimit"},
}

// Template is a recipe as an Image Builder template.
type Template struct {
	// Properties are the resource's properties, with nothing in them that
	// Azure does not know (but for a source of type URL, which only Hallmark's
	// control plane has).
	Properties map[string]any `json:"properties"`

	// Extensions are what else the recipe says: its own fields by name, and
	// under customize and validate the extra fields of steps by their index.
	// Nil if there is nothing, and always nil for a portable template.
	Extensions map[string]any `json:"extensions,omitempty"`
}

// TemplateInput is what a template needs that a recipe does not say.
type TemplateInput struct {
	SubscriptionID string
	ResourceGroup  string // of the gallery

	// Version is the reserved version number. If it is empty, the template
	// asks Image Builder to find one.
	Version string

	// Staged publishes the version excluded from latest, whatever the recipe
	// says: only its tests promote it.
	Staged bool

	// Regions replace the recipe's. For a staged version that is the build
	// region only; the others follow when it is promoted.
	Regions []string

	// Tags are added to the artifact's.
	Tags map[string]string

	// Portable makes a template that Azure's own Image Builder can run: what it
	// does not know becomes Shell steps, and there are no extensions.
	Portable bool

	// Tattoo and TattooSignature are written by the last steps, if given.
	Tattoo, TattooSignature []byte
}

// ToTemplate renders the recipe, whose local files have to be embedded.
func (r *Recipe) ToTemplate(in TemplateInput) (*Template, error) {
	for _, input := range r.Inputs() {
		if input.Local {
			return nil, fmt.Errorf("render a template: file %s is not embedded in the recipe", input.URI)
		}
	}
	out, err := r.clone()
	if err != nil {
		return nil, err
	}
	out.Distribute = r.distributors(in)
	out.Customize = append(out.Customize, tattooFiles(in.Tattoo, in.TattooSignature)...)
	if in.Portable {
		if err := out.lower(); err != nil {
			return nil, err
		}
	}
	return out.split(in.Portable)
}

// distributors fills in what the short form (gallery, definition, regions) and
// the input say.
func (r *Recipe) distributors(in TemplateInput) []Distributor {
	out := slices.Clone(r.Distribute)
	if len(out) == 0 {
		out = []Distributor{{Type: "SharedImage"}}
	}
	for i := range out {
		d := &out[i]
		setString(&d.RunOutputName, outputName(r.Name, i))
		d.ArtifactTags = merge(r.Tags, d.ArtifactTags, in.Tags)
		if d.Type == "SharedImage" {
			r.fillSharedImage(d, in)
		}
	}
	return out
}

func outputName(name string, i int) string {
	if name == "" {
		name = "output"
	}
	name = name[:min(len(name), 56)]
	if i > 0 {
		name += "-" + itoa(i+1)
	}
	return name
}

func (r *Recipe) fillSharedImage(d *Distributor, in TemplateInput) {
	if d.GalleryImageID == "" {
		d.GalleryImageID = fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s",
			in.SubscriptionID, in.ResourceGroup, r.Gallery, r.Definition.Name)
	}
	regions := in.Regions
	if len(regions) == 0 && len(d.TargetRegions) == 0 {
		regions = r.Regions
	}
	if len(regions) > 0 {
		d.TargetRegions = nil
		for _, name := range regions {
			d.TargetRegions = append(d.TargetRegions, TargetRegion{Name: name, ReplicaCount: 1})
		}
	}
	d.ExcludeFromLatest = d.ExcludeFromLatest || in.Staged
	version := in.Version
	setString(&version, r.Version)
	switch {
	case version != "":
		if i := strings.Index(strings.ToLower(d.GalleryImageID), "/versions/"); i >= 0 {
			d.GalleryImageID = d.GalleryImageID[:i]
		}
		d.GalleryImageID += "/versions/" + version
		d.Versioning = nil
	case d.Versioning == nil:
		d.Versioning = r.Versioning
	}
}

func merge(tags ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		maps.Copy(out, t)
	}
	return out
}

// split divides the recipe's JSON into what Azure knows and what it does not.
func (r *Recipe) split(portable bool) (*Template, error) {
	tree, err := treeOf(r)
	if err != nil {
		return nil, err
	}
	t := &Template{Properties: map[string]any{}, Extensions: map[string]any{}}
	delete(tree, "variables") // their values are in place already
	for name, value := range tree {
		if slices.Contains(templateFields, name) {
			t.Properties[name] = value
		} else {
			t.Extensions[name] = value
		}
	}
	if extra := splitSteps(t.Properties["customize"]); extra != nil {
		t.Extensions["customize"] = extra
	}
	if validate, ok := t.Properties["validate"].(map[string]any); ok {
		if extra := splitSteps(validate["inVMValidations"]); extra != nil {
			t.Extensions["validate"] = map[string]any{"inVMValidations": extra}
		}
	}
	if portable {
		t.Extensions = nil
	}
	return t, nil
}

func treeOf(value any) (map[string]any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("render a template: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("render a template: %w", err)
	}
	return tree, nil
}

// splitSteps takes the fields that Azure does not know out of the steps and
// returns them by the step's index.
func splitSteps(list any) map[string]any {
	steps, _ := list.([]any)
	extra := map[string]any{}
	for i, s := range steps {
		step, _ := s.(map[string]any)
		typeName, _ := step["type"].(string)
		own := map[string]any{}
		for name, value := range step {
			if !slices.Contains(azureStepFields[typeName], name) {
				own[name] = value
				delete(step, name)
			}
		}
		if len(own) > 0 {
			extra[itoa(i)] = own
		}
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

// FromTemplate reads an Image Builder template: a resource with its
// properties, an ARM deployment template that holds one, or the bare
// properties. Extensions of Hallmark's are honoured where [ExtensionsField]
// holds them. The recipe may lack a name and a gallery of its own; where the
// image goes is in Distribute. Mistakes are [Problems].
func FromTemplate(data []byte, options ParseOptions) (*Recipe, error) {
	root, problems := parseNode(data)
	if root == nil || len(problems) > 0 {
		return nil, withFile(problems, options.File).err()
	}
	d := newDecoder(options.File)
	properties := d.templateProperties(root)
	if properties == nil {
		return nil, d.problems.err()
	}
	d.mergeExtensions(properties)
	if len(d.problems) > 0 {
		return nil, d.problems.err()
	}
	recipe, err := decodeRecipe(properties, options, false)
	var found Problems
	if errors.As(err, &found) {
		return nil, found
	}
	return recipe, err
}

// IsTemplate tells an Image Builder template from a recipe by its shape, so
// that a command can take either.
func IsTemplate(data []byte) bool {
	root, problems := parseNode(data)
	if root == nil || len(problems) > 0 {
		return false
	}
	resources := root.field("resources")
	return root.field("properties") != nil || (resources != nil && resources.kind == kindList)
}

func (d *decoder) templateProperties(root *node) *node {
	if root.kind != kindMap {
		d.wrongKind(root, "", "a mapping")
		return nil
	}
	resource, path := root, ""
	if list := root.field("resources"); list != nil {
		if resource, path = d.onlyTemplate(list); resource == nil {
			return nil
		}
		d.plainStrings(resource.field("properties"), path+".properties")
	}
	properties := resource.field("properties")
	if properties == nil {
		if resource.field("source") == nil {
			d.fail(path, "this is not an Image Builder template: it has neither properties nor source", "")
			return nil
		}
		properties = resource
	}
	if properties.kind != kindMap {
		d.wrongKind(properties, "properties", "a mapping")
		return nil
	}
	kept := *properties
	kept.fields = slices.DeleteFunc(slices.Clone(properties.fields), func(f field) bool { return slices.Contains(ignoredFields, f.key) })
	return &kept
}

func (d *decoder) onlyTemplate(list *node) (*node, string) {
	var found *node
	var path string
	for i, item := range list.items {
		t := item.field("type")
		if t == nil || !strings.EqualFold(t.text, TemplateType) {
			continue
		}
		if found != nil {
			d.report(item.pos, "resources["+itoa(i)+"]", "there is a second image template in this file", "build one at a time")
			return nil, ""
		}
		found, path = item, "resources["+itoa(i)+"]"
	}
	if found == nil {
		d.report(list.pos, "resources", "there is no "+TemplateType+" in this deployment template", "")
	}
	return found, path
}

// plainStrings refuses template expressions, which only a deployment can
// evaluate, and undoes the escape for text that begins with a bracket.
func (d *decoder) plainStrings(n *node, path string) {
	if n == nil {
		return
	}
	for i, item := range n.items {
		d.plainStrings(item, path+"["+itoa(i)+"]")
	}
	for _, f := range n.fields {
		d.plainStrings(f.value, join(path, f.key))
	}
	switch {
	case n.kind != kindString || !strings.HasPrefix(n.text, "["):
	case strings.HasPrefix(n.text, "[["):
		n.text = n.text[1:]
	case strings.HasSuffix(n.text, "]"):
		d.report(n.pos, path, "this is a template expression, which only a deployment evaluates", "write the value, or deploy the template")
	}
}

// mergeExtensions puts Hallmark's fields back beside Azure's.
func (d *decoder) mergeExtensions(properties *node) {
	extensions := properties.field(ExtensionsField)
	if extensions == nil {
		return
	}
	properties.fields = slices.DeleteFunc(properties.fields, func(f field) bool { return f.key == ExtensionsField })
	if extensions.kind != kindMap {
		d.wrongKind(extensions, ExtensionsField, "a mapping")
		return
	}
	for _, f := range extensions.fields {
		at := ExtensionsField + "." + f.key
		switch f.key {
		case "customize":
			d.mergeSteps(properties.field("customize"), f.value, at)
		case "validate":
			if validate := properties.field("validate"); validate != nil && f.value.field("inVMValidations") != nil {
				d.mergeSteps(validate.field("inVMValidations"), f.value.field("inVMValidations"), at+".inVMValidations")
			}
		default:
			properties.fields = append(properties.fields, f)
		}
	}
}

func (d *decoder) mergeSteps(list, extra *node, path string) {
	for _, f := range extra.fields {
		index, err := strconv.Atoi(f.key)
		if err != nil || list == nil || index < 0 || index >= len(list.items) || list.items[index].kind != kindMap {
			d.report(f.pos, path+"."+f.key, "there is no step with this index", "")
			continue
		}
		list.items[index].fields = append(list.items[index].fields, f.value.fields...)
	}
}
