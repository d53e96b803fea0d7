package image

// Recipe is one image, as a person describes it. The fields that Azure Image
// Builder knows keep its names and meanings. [ParseRecipe] and [FromTemplate]
// are the ways to get a valid one, with its defaults filled in.
type Recipe struct {
	Name         string            `json:"name,omitempty"`
	Description  string            `json:"description,omitempty"`
	Gallery      string            `json:"gallery,omitempty"`
	Definition   *Definition       `json:"definition,omitempty"`
	Version      string            `json:"version,omitempty"`
	Versioning   *Versioning       `json:"versioning,omitempty"`
	Regions      []string          `json:"regions,omitempty"`
	ServiceModel string            `json:"serviceModel,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`

	Variables map[string]Variable `json:"variables,omitempty"`
	Secrets   map[string]Secret   `json:"secrets,omitempty"`

	Source                Source         `json:"source"`
	Customize             []Customizer   `json:"customize,omitempty"`
	Validate              *Validate      `json:"validate,omitempty"`
	Distribute            []Distributor  `json:"distribute,omitempty"`
	VMProfile             *VMProfile     `json:"vmProfile,omitempty"`
	BuildTimeoutInMinutes int            `json:"buildTimeoutInMinutes,omitempty"`
	ErrorHandling         *ErrorHandling `json:"errorHandling,omitempty"`
	Optimize              *Optimize      `json:"optimize,omitempty"`

	CACertificates []CACertificate   `json:"caCertificates,omitempty"`
	Proxy          *Proxy            `json:"proxy,omitempty"`
	AptMirror      string            `json:"aptMirror,omitempty"`
	Tattoo         map[string]string `json:"tattoo,omitempty"`
	Tests          []Test            `json:"tests,omitempty"`
	StandardTests  *StandardTests    `json:"standardTests,omitempty"`
	BootBudgets    []BootBudget      `json:"bootBudgets,omitempty"`
	Lifecycle      *Lifecycle        `json:"lifecycle,omitempty"`
	Cache          *Cache            `json:"cache,omitempty"`
}

// Definition is the gallery image definition that versions are published to.
type Definition struct {
	Name             string     `json:"name,omitempty"`
	Description      string     `json:"description,omitempty"`
	Identifier       Identifier `json:"identifier"`
	OSType           string     `json:"osType,omitempty"`
	OSState          string     `json:"osState,omitempty"`
	HyperVGeneration string     `json:"hyperVGeneration,omitempty"`
	Architecture     string     `json:"architecture,omitempty"`
	EndOfLifeDate    string     `json:"endOfLifeDate,omitempty"`
}

// Identifier is a definition's unique triple within its gallery.
type Identifier struct {
	Publisher string `json:"publisher,omitempty"`
	Offer     string `json:"offer,omitempty"`
	SKU       string `json:"sku,omitempty"`
}

// Versioning says how the next version number is found; see [NextVersion].
type Versioning struct {
	Scheme string `json:"scheme,omitempty"`
	Major  *int   `json:"major,omitempty"`
}

// Variable is a declared value that `${{ var.NAME }}` stands for.
type Variable struct {
	Default       *string  `json:"default,omitempty"`
	Description   string   `json:"description,omitempty"`
	AllowedValues []string `json:"allowedValues,omitempty"`
}

// Secret names where a secret's value comes from. The value itself is never
// part of a recipe, a plan or a digest.
type Secret struct {
	Env     string   `json:"env,omitempty"`
	File    string   `json:"file,omitempty"`
	Command []string `json:"command,omitempty"`
}

// Source is the image that a build starts from. Type says which fields count.
type Source struct {
	Type string `json:"type,omitempty"`

	// PlatformImage
	Publisher string    `json:"publisher,omitempty"`
	Offer     string    `json:"offer,omitempty"`
	SKU       string    `json:"sku,omitempty"`
	Version   string    `json:"version,omitempty"`
	PlanInfo  *PlanInfo `json:"planInfo,omitempty"`

	ImageID        string `json:"imageId,omitempty"`        // ManagedImage
	ImageVersionID string `json:"imageVersionId,omitempty"` // SharedImageVersion

	// URL (Hallmark's own)
	URI            string `json:"uri,omitempty"`
	SHA256Checksum string `json:"sha256Checksum,omitempty"`
	ChecksumURI    string `json:"checksumUri,omitempty"`
	Format         string `json:"format,omitempty"`
}

// PlanInfo is the purchase plan of a marketplace image that has one.
type PlanInfo struct {
	PlanName      string `json:"planName,omitempty"`
	PlanProduct   string `json:"planProduct,omitempty"`
	PlanPublisher string `json:"planPublisher,omitempty"`
}

// Customizer is one step of a build, or one in-VM validation. Type says which
// fields count; customizerFields is the table.
type Customizer struct {
	Type           string `json:"type,omitempty"`
	Name           string `json:"name,omitempty"`
	Inline         Lines  `json:"inline,omitempty"`
	ScriptURI      string `json:"scriptUri,omitempty"`
	SHA256Checksum string `json:"sha256Checksum,omitempty"`
	SourceURI      string `json:"sourceUri,omitempty"`
	Destination    string `json:"destination,omitempty"`
	ValidExitCodes []int  `json:"validExitCodes,omitempty"`

	// Windows
	RunElevated         bool     `json:"runElevated,omitempty"`
	RunAsSystem         bool     `json:"runAsSystem,omitempty"`
	RestartCommand      string   `json:"restartCommand,omitempty"`
	RestartCheckCommand string   `json:"restartCheckCommand,omitempty"`
	RestartTimeout      string   `json:"restartTimeout,omitempty"`
	SearchCriteria      string   `json:"searchCriteria,omitempty"`
	Filters             []string `json:"filters,omitempty"`
	UpdateLimit         int      `json:"updateLimit,omitempty"`

	// Hallmark's own
	Content       *string           `json:"content,omitempty"`
	ContentBase64 string            `json:"contentBase64,omitempty"`
	Mode          string            `json:"mode,omitempty"`
	Owner         string            `json:"owner,omitempty"`
	Timeout       Duration          `json:"timeout,omitempty"`
	Network       string            `json:"network,omitempty"`
	Isolation     string            `json:"isolation,omitempty"`
	Boot          bool              `json:"boot,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Secrets       []string          `json:"secrets,omitempty"`
}

// Validate is Image Builder's validate property.
type Validate struct {
	InVMValidations             []Customizer `json:"inVMValidations,omitempty"`
	ContinueDistributeOnFailure bool         `json:"continueDistributeOnFailure,omitempty"`
	SourceValidationOnly        bool         `json:"sourceValidationOnly,omitempty"`
}

// Distributor is one place that the finished image goes to.
type Distributor struct {
	Type          string            `json:"type,omitempty"`
	RunOutputName string            `json:"runOutputName,omitempty"`
	ArtifactTags  map[string]string `json:"artifactTags,omitempty"`

	// SharedImage
	GalleryImageID     string         `json:"galleryImageId,omitempty"`
	TargetRegions      []TargetRegion `json:"targetRegions,omitempty"`
	ReplicationRegions []string       `json:"replicationRegions,omitempty"` // Azure's older name; becomes TargetRegions
	StorageAccountType string         `json:"storageAccountType,omitempty"`
	ExcludeFromLatest  bool           `json:"excludeFromLatest,omitempty"`
	Versioning         *Versioning    `json:"versioning,omitempty"`

	// ManagedImage
	ImageID  string `json:"imageId,omitempty"`
	Location string `json:"location,omitempty"`

	URI string `json:"uri,omitempty"` // VHD
}

// TargetRegion is one region that a gallery version is replicated to.
type TargetRegion struct {
	Name               string `json:"name,omitempty"`
	ReplicaCount       int    `json:"replicaCount,omitempty"`
	StorageAccountType string `json:"storageAccountType,omitempty"`
}

// VMProfile describes the build machine.
type VMProfile struct {
	VMSize                 string      `json:"vmSize,omitempty"`
	OSDiskSizeGB           int         `json:"osDiskSizeGB,omitempty"`
	UserAssignedIdentities []string    `json:"userAssignedIdentities,omitempty"`
	VnetConfig             *VnetConfig `json:"vnetConfig,omitempty"`
}

// VnetConfig puts Azure's build machine into an existing subnet.
type VnetConfig struct {
	SubnetID                  string `json:"subnetId,omitempty"`
	ContainerInstanceSubnetID string `json:"containerInstanceSubnetId,omitempty"`
	ProxyVMSize               string `json:"proxyVmSize,omitempty"`
}

// ErrorHandling says what becomes of a failed build's remains.
type ErrorHandling struct {
	OnCustomizerError string `json:"onCustomizerError,omitempty"`
	OnValidationError string `json:"onValidationError,omitempty"`
}

// Optimize is Image Builder's optimize property.
type Optimize struct {
	VMBoot *VMBoot `json:"vmBoot,omitempty"`
}

// VMBoot asks for an image that is laid out for booting fast.
type VMBoot struct {
	State string `json:"state,omitempty"`
}

// CACertificate is an enterprise root that the image shall trust: PEM text, or
// a file beside the recipe.
type CACertificate struct {
	Name string `json:"name,omitempty"`
	File string `json:"file,omitempty"`
	PEM  string `json:"pem,omitempty"`
}

// Proxy is set in every step's environment; nothing of it stays in the image.
type Proxy struct {
	HTTP    string   `json:"http,omitempty"`
	HTTPS   string   `json:"https,omitempty"`
	NoProxy []string `json:"noProxy,omitempty"`
}

// Test is one expectation of the booted image: exactly one of its kinds is set.
type Test struct {
	Name    string       `json:"name,omitempty"`
	Timeout Duration     `json:"timeout,omitempty"`
	Command *CommandTest `json:"command,omitempty"`
	File    *FileTest    `json:"file,omitempty"`
	Package *PackageTest `json:"package,omitempty"`
	Service *ServiceTest `json:"service,omitempty"`
	Port    *PortTest    `json:"port,omitempty"`
	Sysctl  *SysctlTest  `json:"sysctl,omitempty"`
	User    *UserTest    `json:"user,omitempty"`
}

// CommandTest runs a shell command as root. In a recipe a plain string is
// short for {run: string}.
type CommandTest struct {
	Run      string       `json:"run,omitempty"`
	ExitCode int          `json:"exitCode,omitempty"`
	Stdout   *OutputMatch `json:"stdout,omitempty"`
	Stderr   *OutputMatch `json:"stderr,omitempty"`
}

// OutputMatch holds what an output has to be; every field that is set counts.
type OutputMatch struct {
	Equals      *string `json:"equals,omitempty"` // surrounding white space is ignored
	Contains    Lines   `json:"contains,omitempty"`
	NotContains Lines   `json:"notContains,omitempty"`
	Matches     string  `json:"matches,omitempty"` // RE2, matched anywhere, (?m) on
}

// FileTest looks at one path of the image.
type FileTest struct {
	Path        string `json:"path,omitempty"`
	Exists      *bool  `json:"exists,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Owner       string `json:"owner,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Contains    Lines  `json:"contains,omitempty"`
	NotContains Lines  `json:"notContains,omitempty"`
}

// PackageTest looks into dpkg's or rpm's database. Version is exact, or a
// comparison such as ">= 1.22".
type PackageTest struct {
	Name      string `json:"name,omitempty"`
	Version   string `json:"version,omitempty"`
	Installed *bool  `json:"installed,omitempty"`
}

// ServiceTest asks systemd.
type ServiceTest struct {
	Name    string `json:"name,omitempty"`
	Enabled *bool  `json:"enabled,omitempty"`
	Running *bool  `json:"running,omitempty"`
}

// PortTest looks for a listening socket in the kernel's tables.
type PortTest struct {
	Number    int    `json:"number,omitempty"`
	Protocol  string `json:"protocol,omitempty"`
	Listening *bool  `json:"listening,omitempty"`
}

// SysctlTest reads a kernel setting.
type SysctlTest struct {
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
}

// UserTest looks at an account.
type UserTest struct {
	Name   string   `json:"name,omitempty"`
	Exists *bool    `json:"exists,omitempty"`
	UID    *int     `json:"uid,omitempty"`
	Shell  string   `json:"shell,omitempty"`
	Home   string   `json:"home,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// StandardTests adjusts the tests that every image has to pass.
type StandardTests struct {
	Skip               []string `json:"skip,omitempty"`
	AllowedFailedUnits []string `json:"allowedFailedUnits,omitempty"`
}

// BootBudget limits how long the image may take to boot under one accelerator.
type BootBudget struct {
	Accelerator    string   `json:"accelerator,omitempty"`
	DefaultTarget  Duration `json:"defaultTarget,omitempty"`
	SSH            Duration `json:"ssh,omitempty"`
	RelativeToBase float64  `json:"relativeToBase,omitempty"`
}

// Lifecycle says how versions age.
type Lifecycle struct {
	Current        int      `json:"current,omitempty"`
	Keep           int      `json:"keep,omitempty"`
	EndOfLifeAfter Duration `json:"endOfLifeAfter,omitempty"`
}

// Cache limits how long a step that may use the network is reused. A parsed
// recipe always has a MaxAge; zero means never.
type Cache struct {
	MaxAge *Duration `json:"maxAge,omitempty"`
}
