package image

import "reflect"

// ParseOptions are what a document's text does not say.
type ParseOptions struct {
	File      string            // for messages; may be empty
	Variables map[string]string // values given on the command line
}

// ParseRecipe reads a recipe from YAML (or JSON). On failure the error is
// [Problems]: every mistake at once, each with its place. A recipe that is
// returned is valid and has its defaults filled in.
func ParseRecipe(data []byte, options ParseOptions) (*Recipe, error) {
	root, problems := parseNode(data)
	if root == nil || len(problems) > 0 {
		return nil, withFile(problems, options.File).err()
	}
	return decodeRecipe(root, options, true)
}

// decodeRecipe turns a tree into a checked recipe. named says that it has to
// stand on its own: with a name, and with somewhere to publish to.
func decodeRecipe(root *node, options ParseOptions, named bool) (*Recipe, error) {
	d := newDecoder(options.File)
	if root.kind != kindMap {
		d.wrongKind(root, "", "a mapping")
		return nil, d.problems.err()
	}
	d.substitute(root, options.Variables)
	var r Recipe
	d.value(root, "", reflect.ValueOf(&r).Elem())
	r.setDefaults()
	c := checker{decoder: d, recipe: &r, named: named}
	c.check()
	if len(d.problems) > 0 {
		return nil, d.problems.err()
	}
	return &r, nil
}

func withFile(ps Problems, file string) Problems {
	for i := range ps {
		ps[i].File = file
	}
	return ps
}

// Defaults that docs/recipe.md promises.
const (
	defaultBuildTimeout = 240
	defaultCurrent      = 2
	defaultKeep         = 3
	defaultMaxAge       = "24h"
	defaultFileMode     = "0644"
	defaultFileOwner    = "root:root"
	defaultTestTimeout  = "60s"
)

func (r *Recipe) setDefaults() {
	if r.BuildTimeoutInMinutes == 0 {
		r.BuildTimeoutInMinutes = defaultBuildTimeout
	}
	for i := range r.Customize {
		r.Customize[i].setDefaults()
	}
	if r.Validate != nil {
		for i := range r.Validate.InVMValidations {
			r.Validate.InVMValidations[i].setDefaults()
		}
	}
	if r.Definition != nil {
		r.Definition.setDefaults()
	}
	r.setPolicyDefaults()
	for i := range r.Tests {
		r.Tests[i].setDefaults()
	}
	for i := range r.Distribute {
		r.Distribute[i].setDefaults()
	}
}

func (r *Recipe) setPolicyDefaults() {
	if r.ErrorHandling == nil {
		r.ErrorHandling = &ErrorHandling{}
	}
	setString(&r.ErrorHandling.OnCustomizerError, "cleanup")
	setString(&r.ErrorHandling.OnValidationError, "cleanup")
	if r.Lifecycle == nil {
		r.Lifecycle = &Lifecycle{}
	}
	if r.Lifecycle.Current == 0 {
		r.Lifecycle.Current = defaultCurrent
	}
	if r.Lifecycle.Keep == 0 {
		r.Lifecycle.Keep = max(defaultKeep, r.Lifecycle.Current)
	}
	if r.Cache == nil {
		r.Cache = &Cache{}
	}
	if r.Cache.MaxAge == nil {
		r.Cache.MaxAge = new(Duration)
		setDuration(r.Cache.MaxAge, defaultMaxAge)
	}
	if r.Source.Type == "PlatformImage" {
		setString(&r.Source.Version, "latest")
	}
}

func (c *Customizer) setDefaults() {
	switch c.Type {
	case "Shell":
		setString(&c.Network, "full")
		setString(&c.Isolation, "container")
		if len(c.ValidExitCodes) == 0 {
			c.ValidExitCodes = []int{0}
		}
	case "File":
		setString(&c.Mode, defaultFileMode)
		setString(&c.Owner, defaultFileOwner)
	case "WindowsRestart":
		setString(&c.RestartTimeout, "5m")
	case "WindowsUpdate":
		if c.UpdateLimit == 0 {
			c.UpdateLimit = 1000
		}
	}
}

func (d *Definition) setDefaults() {
	setString(&d.OSType, "Linux")
	setString(&d.OSState, "Generalized")
	setString(&d.HyperVGeneration, "V2")
	setString(&d.Architecture, "x64")
}

func (d *Distributor) setDefaults() {
	for _, region := range d.ReplicationRegions {
		d.TargetRegions = append(d.TargetRegions, TargetRegion{Name: region})
	}
	d.ReplicationRegions = nil
	for i := range d.TargetRegions {
		if d.TargetRegions[i].ReplicaCount == 0 {
			d.TargetRegions[i].ReplicaCount = 1
		}
	}
}

func (t *Test) setDefaults() {
	setDuration(&t.Timeout, defaultTestTimeout)
	yes := true
	switch {
	case t.File != nil && t.File.Exists == nil:
		t.File.Exists = &yes
	case t.Package != nil && t.Package.Installed == nil:
		t.Package.Installed = &yes
	case t.Service != nil && t.Service.Enabled == nil && t.Service.Running == nil:
		t.Service.Enabled, t.Service.Running = &yes, &yes
	case t.Port != nil:
		setString(&t.Port.Protocol, "tcp")
		if t.Port.Listening == nil {
			t.Port.Listening = &yes
		}
	case t.User != nil && t.User.Exists == nil:
		t.User.Exists = &yes
	}
}

func setString(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func setDuration(d *Duration, value string) {
	if *d == 0 {
		*d, _ = ParseDuration(value)
	}
}
