package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// checker looks for what a document's shape alone cannot show.
type checker struct {
	*decoder
	recipe *Recipe
	named  bool
}

// The words that are valid where Azure or we have a fixed list.
var (
	sourceTypes      = []string{"PlatformImage", "ManagedImage", "SharedImageVersion", "URL"}
	sourceFormats    = []string{"qcow2", "raw", "vhd"}
	distributeTypes  = []string{"SharedImage", "ManagedImage", "VHD"}
	customizerTypes  = []string{"Shell", "File", "PowerShell", "WindowsRestart", "WindowsUpdate"}
	validatorTypes   = []string{"Shell", "File", "PowerShell"}
	storageTypes     = []string{"Standard_LRS", "Standard_ZRS", "Premium_LRS", "PremiumV2_LRS"}
	networks         = []string{"full", "none"}
	isolations       = []string{"container", "vm"}
	osTypes          = []string{"Linux", "Windows"}
	osStates         = []string{"Generalized", "Specialized"}
	generations      = []string{"V1", "V2"}
	architectures    = []string{"x64", "Arm64"}
	onErrors         = []string{"cleanup", "abort"}
	schemes          = []string{"Latest", "Source"}
	serviceModels    = []string{"cattle", "pet"}
	accelerators     = []string{"kvm", "tcg"}
	vmBootStates     = []string{"Enabled", "Disabled"}
	protocols        = []string{"tcp", "udp"}
	customizerFields = map[string][]string{
		"Shell":          {"type", "name", "inline", "scriptUri", "sha256Checksum", "validExitCodes", "timeout", "network", "isolation", "boot", "env", "secrets"},
		"File":           {"type", "name", "sourceUri", "destination", "sha256Checksum", "content", "contentBase64", "mode", "owner"},
		"PowerShell":     {"type", "name", "inline", "scriptUri", "sha256Checksum", "validExitCodes", "runElevated", "runAsSystem", "timeout", "env", "secrets"},
		"WindowsRestart": {"type", "name", "restartCommand", "restartCheckCommand", "restartTimeout"},
		"WindowsUpdate":  {"type", "name", "searchCriteria", "filters", "updateLimit"},
	}
	sourceFields = map[string][]string{
		"PlatformImage":      {"type", "publisher", "offer", "sku", "version", "planInfo"},
		"ManagedImage":       {"type", "imageId"},
		"SharedImageVersion": {"type", "imageVersionId"},
		"URL":                {"type", "uri", "sha256Checksum", "checksumUri", "format"},
	}
	distributeFields = map[string][]string{
		"SharedImage":  {"type", "runOutputName", "artifactTags", "galleryImageId", "targetRegions", "replicationRegions", "storageAccountType", "excludeFromLatest", "versioning"},
		"ManagedImage": {"type", "runOutputName", "artifactTags", "imageId", "location"},
		"VHD":          {"type", "runOutputName", "artifactTags", "uri"},
	}
)

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$`)
	galleryPattern  = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._]{0,78}[A-Za-z0-9])?$`)
	regionPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ]{0,63}$`)
	digestPattern   = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	modePattern     = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	ownerPattern    = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,31}(?::[a-z0-9_][a-z0-9_-]{0,31})?$`)
	envPattern      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	unitPattern     = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)
	packagePattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._:-]{0,127}$`)
	sysctlPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)+$`)
	userPattern     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	resourcePattern = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+(?:/[^/]+/[^/]+)+$`)
)

func (c *checker) check() {
	r := c.recipe
	c.metadata()
	c.source()
	for i := range r.Customize {
		c.customizer(fmt.Sprintf("customize[%d]", i), &r.Customize[i], customizerTypes)
	}
	c.uniqueNames()
	if r.Validate != nil {
		for i := range r.Validate.InVMValidations {
			c.customizer(fmt.Sprintf("validate.inVMValidations[%d]", i), &r.Validate.InVMValidations[i], validatorTypes)
		}
		if r.Validate.SourceValidationOnly && len(r.Customize) > 0 {
			c.fail("validate.sourceValidationOnly", "the source is only validated, so customize has no effect", "remove one of the two")
		}
	}
	for i := range r.Distribute {
		c.distributor(fmt.Sprintf("distribute[%d]", i), &r.Distribute[i])
	}
	c.machine()
	c.surroundings()
	c.tests()
}

func (c *checker) metadata() {
	r := c.recipe
	if c.named || r.Name != "" {
		c.pattern("name", r.Name, namePattern, "letters, digits, dots, dashes and underscores, at most 80")
	}
	if r.Gallery != "" {
		c.pattern("gallery", r.Gallery, galleryPattern, "letters, digits, dots and underscores, at most 80")
	}
	if r.Gallery != "" && r.Definition == nil {
		c.fail("gallery", "a gallery is named, but no image definition", "add definition: {name, identifier: {publisher, offer, sku}}")
	}
	if r.Definition != nil {
		c.definition(r.Definition)
	}
	if len(r.Distribute) == 0 && (r.Gallery == "" || r.Definition == nil) {
		c.nowhere()
	}
	if r.Version != "" {
		c.version("version", r.Version)
		if r.Versioning != nil {
			c.fail("version", "version and versioning cannot both be given", "remove one of the two")
		}
	}
	c.versioning("versioning", r.Versioning)
	for i, region := range r.Regions {
		c.region(fmt.Sprintf("regions[%d]", i), region)
		if slices.Contains(r.Regions[:i], region) {
			c.fail(fmt.Sprintf("regions[%d]", i), "region "+region+" is named twice", "")
		}
	}
	c.enum("serviceModel", r.ServiceModel, serviceModels)
	c.tags("tags", r.Tags)
}

// nowhere names the field that each kind of document is expected to have.
func (c *checker) nowhere() {
	if c.named {
		c.fail("", "the recipe does not say where the image goes", "add gallery and definition, or distribute")
	} else {
		c.fail("distribute", "this is missing: the template does not say where the image goes", "")
	}
}

func (c *checker) definition(d *Definition) {
	if c.recipe.Gallery == "" {
		c.fail("definition", "an image definition is given, but no gallery", "add gallery: NAME")
	}
	c.pattern("definition.name", d.Name, namePattern, "letters, digits, dots, dashes and underscores, at most 80")
	for _, f := range [][2]string{{"publisher", d.Identifier.Publisher}, {"offer", d.Identifier.Offer}, {"sku", d.Identifier.SKU}} {
		c.pattern("definition.identifier."+f[0], f[1], namePattern, "publisher, offer and sku together identify the definition in its gallery")
	}
	c.enum("definition.osType", d.OSType, osTypes)
	c.enum("definition.osState", d.OSState, osStates)
	c.enum("definition.hyperVGeneration", d.HyperVGeneration, generations)
	c.enum("definition.architecture", d.Architecture, architectures)
	if d.EndOfLifeDate != "" {
		c.date("definition.endOfLifeDate", d.EndOfLifeDate)
	}
}

func (c *checker) source() {
	s := c.recipe.Source
	if !c.required("source.type", s.Type) || !c.enum("source.type", s.Type, sourceTypes) {
		return
	}
	c.allowed("source", s.Type, s, sourceFields[s.Type])
	switch s.Type {
	case "PlatformImage":
		c.required("source.publisher", s.Publisher)
		c.required("source.offer", s.Offer)
		c.required("source.sku", s.SKU)
		for _, f := range [][2]string{{"publisher", s.Publisher}, {"offer", s.Offer}, {"sku", s.SKU}, {"version", s.Version}} {
			if f[1] != "" {
				c.pattern("source."+f[0], f[1], namePattern, "as the marketplace lists it")
			}
		}
	case "ManagedImage":
		c.resourceID("source.imageId", s.ImageID, "/Microsoft.Compute/images/")
	case "SharedImageVersion":
		c.resourceID("source.imageVersionId", s.ImageVersionID, "/versions/")
	case "URL":
		c.urlSource(s)
	}
}

func (c *checker) urlSource(s Source) {
	if c.required("source.uri", s.URI) {
		c.remote("source.uri", s.URI)
	}
	c.enum("source.format", s.Format, sourceFormats)
	switch {
	case s.SHA256Checksum == "" && s.ChecksumURI == "":
		c.fail("source", "a URL source needs a digest", "add sha256Checksum, or checksumUri with the address of a SHA256SUMS file")
	case s.SHA256Checksum != "" && s.ChecksumURI != "":
		c.fail("source.checksumUri", "sha256Checksum and checksumUri cannot both be given", "remove one of the two")
	case s.ChecksumURI != "":
		c.remote("source.checksumUri", s.ChecksumURI)
	default:
		c.digest("source.sha256Checksum", s.SHA256Checksum)
	}
}

func (c *checker) customizer(at string, step *Customizer, types []string) {
	if !c.required(at+".type", step.Type) || !c.enum(at+".type", step.Type, types) {
		return
	}
	c.allowed(at, step.Type, *step, customizerFields[step.Type])
	if strings.ContainsAny(step.Name, "\n\x00") || len(step.Name) > 200 {
		c.fail(at+".name", "a step's name is one line of at most 200 characters", "")
	}
	if step.SHA256Checksum != "" {
		c.digest(at+".sha256Checksum", step.SHA256Checksum)
	}
	switch step.Type {
	case "Shell", "PowerShell":
		c.script(at, step)
	case "File":
		c.file(at, step)
	}
}

func (c *checker) script(at string, step *Customizer) {
	switch inline := len(step.Inline) > 0; {
	case inline && step.ScriptURI != "":
		c.fail(at+".scriptUri", "inline and scriptUri cannot both be given", "remove one of the two")
	case !inline && step.ScriptURI == "":
		c.fail(at, "the step has nothing to run", "add inline: [COMMAND, …] or scriptUri: FILE")
	case !inline:
		c.input(at+".scriptUri", step.ScriptURI, step.SHA256Checksum)
	case step.SHA256Checksum != "":
		c.fail(at+".sha256Checksum", "a checksum belongs to a scriptUri", "remove it")
	}
	for i, line := range step.Inline {
		c.noNUL(fmt.Sprintf("%s.inline[%d]", at, i), line)
	}
	c.enum(at+".network", step.Network, networks)
	c.enum(at+".isolation", step.Isolation, isolations)
	if step.Boot && step.Isolation == "vm" {
		c.fail(at+".boot", "boot starts the services of a container; a machine always boots", "remove boot or isolation")
	}
	for i, code := range step.ValidExitCodes {
		if code < 0 || (step.Type == "Shell" && code > 255) {
			c.fail(fmt.Sprintf("%s.validExitCodes[%d]", at, i), "an exit code is between 0 and 255", "")
		}
	}
	for _, name := range sortedKeys(step.Env) {
		if !envPattern.MatchString(name) {
			c.fail(at+".env."+name, "this cannot be the name of an environment variable", "letters, digits and _")
		}
		c.noNUL(at+".env."+name, step.Env[name])
	}
	for i, name := range step.Secrets {
		if _, ok := c.recipe.Secrets[name]; !ok {
			c.fail(fmt.Sprintf("%s.secrets[%d]", at, i), "secret "+quote(name)+" is not declared", suggest(name, sortedKeys(c.recipe.Secrets)))
		}
	}
}

func (c *checker) file(at string, step *Customizer) {
	if c.required(at+".destination", step.Destination) {
		c.guestPath(at+".destination", step.Destination)
	}
	given := 0
	for _, set := range []bool{step.SourceURI != "", step.Content != nil, step.ContentBase64 != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		c.fail(at, "a File needs exactly one of sourceUri, content and contentBase64", "")
	}
	if step.SourceURI != "" {
		c.input(at+".sourceUri", step.SourceURI, step.SHA256Checksum)
	}
	c.mode(at+".mode", step.Mode)
	c.owner(at+".owner", step.Owner)
}

// uniqueNames: a step is found again by its name in logs and repairs.
func (c *checker) uniqueNames() {
	seen := map[string]int{}
	for i, step := range c.recipe.Customize {
		if first, ok := seen[step.Name]; ok && step.Name != "" {
			c.fail(fmt.Sprintf("customize[%d].name", i), fmt.Sprintf("step %q has the name of customize[%d]", step.Name, first), "give each step its own name")
			continue
		}
		seen[step.Name] = i
	}
}

func (c *checker) distributor(at string, d *Distributor) {
	if !c.required(at+".type", d.Type) || !c.enum(at+".type", d.Type, distributeTypes) {
		return
	}
	c.allowed(at, d.Type, *d, distributeFields[d.Type])
	if !c.named || d.RunOutputName != "" {
		c.pattern(at+".runOutputName", d.RunOutputName, regexp.MustCompile(`^[A-Za-z0-9-_.]{1,64}$`), "letters, digits, dashes, dots and underscores, at most 64")
	}
	c.tags(at+".artifactTags", d.ArtifactTags)
	switch d.Type {
	case "SharedImage":
		c.sharedImage(at, d)
	case "ManagedImage":
		c.resourceID(at+".imageId", d.ImageID, "/Microsoft.Compute/images/")
		c.required(at+".location", d.Location)
	}
}

func (c *checker) sharedImage(at string, d *Distributor) {
	if d.GalleryImageID != "" || c.recipe.Gallery == "" {
		c.resourceID(at+".galleryImageId", d.GalleryImageID, "/Microsoft.Compute/galleries/")
	}
	if tail := regexp.MustCompile(`(?i)/versions/([^/]+)$`).FindStringSubmatch(d.GalleryImageID); tail != nil {
		c.version(at+".galleryImageId", tail[1])
	}
	if len(d.TargetRegions) == 0 && len(c.recipe.Regions) == 0 {
		c.fail(at+".targetRegions", "no region to publish to", "add targetRegions: [{name: REGION}]")
	}
	for i, region := range d.TargetRegions {
		p := fmt.Sprintf("%s.targetRegions[%d]", at, i)
		c.region(p+".name", region.Name)
		c.between(p+".replicaCount", region.ReplicaCount, 1, 100)
		c.enum(p+".storageAccountType", region.StorageAccountType, storageTypes)
	}
	c.enum(at+".storageAccountType", d.StorageAccountType, storageTypes)
	c.versioning(at+".versioning", d.Versioning)
}

func (c *checker) machine() {
	r := c.recipe
	c.between("buildTimeoutInMinutes", r.BuildTimeoutInMinutes, 6, 960)
	c.enum("errorHandling.onCustomizerError", r.ErrorHandling.OnCustomizerError, onErrors)
	c.enum("errorHandling.onValidationError", r.ErrorHandling.OnValidationError, onErrors)
	if r.Optimize != nil && r.Optimize.VMBoot != nil {
		c.enum("optimize.vmBoot.state", r.Optimize.VMBoot.State, vmBootStates)
	}
	if p := r.VMProfile; p != nil {
		c.between("vmProfile.osDiskSizeGB", p.OSDiskSizeGB, 0, 4095)
		if p.VMSize != "" {
			c.pattern("vmProfile.vmSize", p.VMSize, namePattern, "a size such as Standard_D2ds_v4")
		}
		for i, id := range p.UserAssignedIdentities {
			c.resourceID(fmt.Sprintf("vmProfile.userAssignedIdentities[%d]", i), id, "/Microsoft.ManagedIdentity/userAssignedIdentities/")
		}
	}
	if l := r.Lifecycle; l != nil {
		c.between("lifecycle.current", l.Current, 1, 100)
		c.between("lifecycle.keep", l.Keep, 1, 10000)
		if l.Keep < l.Current {
			c.fail("lifecycle.keep", fmt.Sprintf("%d versions are kept, but %d count as approved", l.Keep, l.Current), "keep at least as many as current")
		}
	}
}

func (c *checker) surroundings() {
	r := c.recipe
	for _, name := range sortedKeys(r.Secrets) {
		c.secret("secrets."+name, name, r.Secrets[name])
	}
	for i, ca := range r.CACertificates {
		c.certificate(fmt.Sprintf("caCertificates[%d]", i), ca)
	}
	if r.Proxy != nil {
		for _, f := range [][2]string{{"proxy.http", r.Proxy.HTTP}, {"proxy.https", r.Proxy.HTTPS}} {
			if f[1] != "" {
				c.remote(f[0], f[1])
			}
		}
	}
	if r.AptMirror != "" {
		c.remote("aptMirror", r.AptMirror)
		if strings.ContainsAny(r.AptMirror, "#'\\&\n ") {
			c.fail("aptMirror", "this address has characters that a mirror's address cannot have", "")
		}
	}
	for _, key := range sortedKeys(r.Tattoo) {
		if err := checkCustomKey(key); err != nil {
			c.fail(join("tattoo", key), err.Error(), "")
		}
		if err := checkTattooValue(r.Tattoo[key]); err != nil {
			c.fail(join("tattoo", key), err.Error(), "")
		}
	}
}

func (c *checker) secret(at, name string, s Secret) {
	if !variableName.MatchString(name) {
		c.fail(at, "this cannot be a secret's name", "letters, digits and _, not beginning with a digit")
	}
	given := 0
	for _, set := range []bool{s.Env != "", s.File != "", len(s.Command) > 0} {
		if set {
			given++
		}
	}
	if given != 1 {
		c.fail(at, "a secret comes from exactly one of env, file and command", "")
	}
	if s.Env != "" && !envPattern.MatchString(s.Env) {
		c.fail(at+".env", "this cannot be the name of an environment variable", "the value itself does not belong into a recipe")
	}
}

func (c *checker) certificate(at string, ca CACertificate) {
	c.pattern(at+".name", ca.Name, namePattern, "letters, digits, dots, dashes and underscores; it becomes a file's name")
	switch {
	case (ca.File == "") == (ca.PEM == ""):
		c.fail(at, "a certificate needs exactly one of file and pem", "")
	case ca.File != "":
		c.input(at+".file", ca.File, "")
	default:
		if _, err := certificates([]byte(ca.PEM)); err != nil {
			c.fail(at+".pem", err.Error(), "")
		}
	}
}
