package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/federation"
	"hallmark.dev/hallmark/internal/instance"
	"hallmark.dev/hallmark/internal/vm"
)

// config is config.yaml in the data directory. It is written at the first
// start and is then the user's to edit; docs/on-disk.md lists its fields.
type config struct {
	Subscription string     `yaml:"subscription"`
	Locations    []location `yaml:"locations"`
	// Catalogue is a YAML file with further marketplace images.
	Catalogue string `yaml:"catalogue,omitempty"`
	// Mirror and SecurityMirror are where Debian bases come from; Debian's own
	// unless set.
	Mirror         string `yaml:"mirror,omitempty"`
	SecurityMirror string `yaml:"securityMirror,omitempty"`
	// MachineCores and MachineMemoryMiB cap what one machine gets, whatever
	// its size is called.
	MachineCores     int `yaml:"machineCores,omitempty"`
	MachineMemoryMiB int `yaml:"machineMemoryMiB,omitempty"`
	// Targets are other ARM endpoints that pipelines may publish to, Azure among
	// them.
	Targets map[string]target `yaml:"targets,omitempty"`
	// Accelerator is kvm or tcg; whichever works unless set.
	Accelerator string `yaml:"accelerator,omitempty"`
	// Issuers are OpenID Connect issuers whose tokens are accepted besides our own.
	Issuers []federation.Config `yaml:"issuers,omitempty"`
	// CacheGiB bounds what build layers may take.
	CacheGiB int `yaml:"cacheGiB,omitempty"`
	// RecordedTypes are resource types to store and do nothing with, beyond those
	// that Hallmark knows.
	RecordedTypes []recordedType `yaml:"recordedTypes,omitempty"`
}

// recordedType is a type and where its resources may be: resourceGroup unless
// set, subscription, managementGroup, resource.
type recordedType struct {
	Type string   `yaml:"type"`
	At   []string `yaml:"at,omitempty"`
}

// location is a region: a storage root of its own.
type location struct {
	Name        string `yaml:"name"`
	DisplayName string `yaml:"displayName"`
	// Root is where the region keeps its bytes; below the data directory
	// unless set.
	Root string `yaml:"root,omitempty"`
}

// target is an ARM endpoint; the fields are those of azure.Endpoint.
type target struct {
	URL        string `yaml:"url,omitempty"`
	Authority  string `yaml:"authority,omitempty"`
	Audience   string `yaml:"audience,omitempty"`
	Tenant     string `yaml:"tenant,omitempty"`
	ClientID   string `yaml:"clientId,omitempty"`
	SecretFile string `yaml:"secretFile,omitempty"`
	CAFile     string `yaml:"caFile,omitempty"`
}

func (t target) connect() (*azure.Client, error) {
	endpoint := azure.Endpoint{URL: t.URL, Authority: t.Authority, Audience: t.Audience, TenantID: t.Tenant, ClientID: t.ClientID, CAFile: t.CAFile}
	if t.SecretFile != "" {
		secret, err := os.ReadFile(t.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("the target's secret: %w", err)
		}
		endpoint.ClientSecret = strings.TrimSpace(string(secret))
	}
	return azure.New(endpoint)
}

func (l location) root(dir instance.Dir) string {
	if l.Root != "" {
		return l.Root
	}
	return filepath.Join(dir.Regions(), l.Name)
}

func defaultConfig() config {
	return config{
		Subscription: newUUID(),
		Locations: []location{
			{Name: "eastus", DisplayName: "East US (this machine)"},
			{Name: "westeurope", DisplayName: "West Europe (this machine)"},
		},
		MachineCores: 2, MachineMemoryMiB: 1024, CacheGiB: 30,
	}
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// loadConfig reads the configuration, or writes the default one.
func loadConfig(dir instance.Dir) (config, error) {
	raw, err := os.ReadFile(dir.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return writeDefault(dir)
	}
	if err != nil {
		return config{}, fmt.Errorf("read the configuration: %w", err)
	}
	c := defaultConfig()
	c.Locations, c.Accelerator = nil, os.Getenv(vm.AccelEnv)
	if err := yaml.UnmarshalWithOptions(raw, &c, yaml.Strict()); err != nil {
		return c, fmt.Errorf("%s: %w", dir.Config(), err)
	}
	return c, c.check(dir)
}

func (c config) check(dir instance.Dir) error {
	var wrong []error
	if len(c.Locations) == 0 {
		wrong = append(wrong, errors.New("locations: at least one is needed"))
	}
	seen := map[string]bool{}
	for i, l := range c.Locations {
		if l.Name == "" || seen[l.Name] {
			wrong = append(wrong, fmt.Errorf("locations[%d].name: %q is empty or there twice", i, l.Name))
		}
		seen[l.Name] = true
	}
	if _, err := recordedTypes(c.RecordedTypes); err != nil {
		wrong = append(wrong, err)
	}
	if err := federation.Check(c.Issuers); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %w", dir.Config(), errors.Join(wrong...))
	}
	return nil
}

func writeDefault(dir instance.Dir) (config, error) {
	c := defaultConfig()
	raw, err := yaml.Marshal(c)
	if err != nil {
		return c, err
	}
	temporary := dir.Config() + ".new"
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return c, fmt.Errorf("write the configuration: %w", err)
	}
	c.Accelerator = os.Getenv(vm.AccelEnv)
	return c, os.Rename(temporary, dir.Config())
}
