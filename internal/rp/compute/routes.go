package compute

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// routes are the computed lists: marketplace, sizes, skus. The marketplace's are bare
// arrays, as Azure's are.
func (s *service) routes() []provider.Route {
	const (
		location   = "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}"
		publishers = location + "/publishers"
		offers     = publishers + "/{publisher}/artifacttypes/vmimage/offers"
		skus       = offers + "/{offer}/skus"
		versions   = skus + "/{sku}/versions"
		permission = "Microsoft.Compute/locations/publishers/"
	)
	return append(slices.Concat(s.diagnosticRoutes(), s.rollingRoutes(), s.catalogueRoutes()), addressRoute(),
		provider.Route{Pattern: location + "/virtualMachineScaleSets", Permission: string(TypeScaleSet) + "/read", Handle: s.setsByLocation},
		provider.Route{Pattern: publishers, Permission: permission + "read", Type: "Microsoft.Compute/locations/publishers", APIVersions: computeVersions,
			Handle: s.listPublishers},
		provider.Route{Pattern: offers, Permission: permission + "artifacttypes/offers/read", Handle: s.names(func(e Entry) string { return e.Offer })},
		provider.Route{Pattern: skus, Permission: permission + "artifacttypes/offers/skus/read", Handle: s.names(func(e Entry) string { return e.SKU })},
		provider.Route{Pattern: versions, Permission: permission + "artifacttypes/offers/skus/versions/read", Handle: s.listVersions},
		provider.Route{Pattern: versions + "/{version}", Permission: permission + "artifacttypes/offers/skus/versions/read", Handle: s.showVersion},
		provider.Route{Pattern: location + "/virtualMachines", Permission: string(TypeVM) + "/read", Handle: s.listByLocation},
		provider.Route{Pattern: location + "/vmSizes", Permission: "Microsoft.Compute/locations/vmSizes/read", Type: "Microsoft.Compute/locations/vmSizes", APIVersions: computeVersions, Handle: s.listSizes},
		provider.Route{Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachines/{name}/vmSizes",
			Permission: string(TypeVM) + "/vmSizes/read", Handle: s.listSizes},
		provider.Route{Pattern: "/subscriptions/{subscription}/providers/Microsoft.Compute/skus", Permission: "Microsoft.Compute/skus/read", Type: "Microsoft.Compute/skus", APIVersions: []string{"2021-07-01", "2019-04-01"}, Handle: s.listSKUs},
	)
}

func (s *service) checkCall(c *provider.Call) error {
	if l := c.Vars["location"]; l != "" && !s.serves(arm.NormalLocation(l)) {
		return arm.Errorf(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for location '%s'. The supported locations are '%s'.", l, strings.Join(s.Locations, ", ")).At("location")
	}
	return nil
}

// item is one line of the marketplace.
type item struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Location   string `json:"location"`
	Properties any    `json:"properties,omitempty"`
}

// matching are the catalogue's entries that fit what the path names so far.
func (s *service) matching(c *provider.Call) (found []Entry) {
	fits := func(variable, value string) bool {
		wanted, ok := c.Vars[variable]
		return !ok || strings.EqualFold(wanted, value)
	}
	for _, e := range s.Catalogue.Entries() {
		if fits("publisher", e.Publisher) && fits("offer", e.Offer) && fits("sku", e.SKU) {
			found = append(found, e)
		}
	}
	return found
}

// listPublishers are those of images and of extensions.
func (s *service) listPublishers(_ context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range s.Catalogue.Entries() {
		names = append(names, e.Publisher)
	}
	for _, h := range handlers {
		names = append(names, h.publisher)
	}
	items := []item{}
	for _, n := range names {
		if !slices.ContainsFunc(items, func(i item) bool { return strings.EqualFold(i.Name, n) }) {
			items = append(items, itemAt(c, n))
		}
	}
	return provider.JSON(http.StatusOK, items)
}

// names lists one level of the tree, each name once.
func (s *service) names(level func(Entry) string) func(context.Context, *provider.Call) (*provider.Response, error) {
	return func(_ context.Context, c *provider.Call) (*provider.Response, error) {
		if err := s.checkCall(c); err != nil {
			return nil, err
		}
		found := s.matching(c)
		if len(found) == 0 && !(c.Vars["offer"] == "" && isHandlerPublisher(c.Vars["publisher"])) {
			return nil, s.notOffered(c)
		}
		items := []item{}
		for _, e := range found {
			if n := level(e); !slices.ContainsFunc(items, func(i item) bool { return strings.EqualFold(i.Name, n) }) {
				items = append(items, item{ID: c.Request.Path + "/" + n, Name: n, Location: arm.NormalLocation(c.Vars["location"])})
			}
		}
		return provider.JSON(http.StatusOK, items)
	}
}

func (s *service) notOffered(c *provider.Call) error {
	return arm.Errorf(http.StatusNotFound, "ArtifactNotFound", "Artifact: %s was not found. The marketplace of this control plane offers: %s.", c.Request.Path, s.offers()).At(c.Request.Path)
}

func (s *service) offers() string {
	var urns []string
	for _, e := range s.Catalogue.Entries() {
		urns = append(urns, e.Publisher+":"+e.Offer+":"+e.SKU)
	}
	return strings.Join(urns, ", ")
}

func (s *service) listVersions(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	found := s.matching(c)
	if len(found) == 0 {
		return nil, s.notOffered(c)
	}
	versions, err := s.Catalogue.Versions(ctx, found[0])
	if err != nil {
		return nil, err
	}
	if versions, err = ordered(versions, c); err != nil {
		return nil, err
	}
	items := []item{}
	for _, v := range versions {
		i := item{ID: c.Request.Path + "/" + v, Name: v, Location: arm.NormalLocation(c.Vars["location"])}
		if strings.EqualFold(queryOf(c, "$expand"), "properties") {
			i.Properties = imageProperties(PlatformImage{Entry: found[0], Version: v})
		}
		items = append(items, i)
	}
	return provider.JSON(http.StatusOK, items)
}

func queryOf(c *provider.Call, name string) string {
	for k, v := range c.Request.Query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// ordered applies $orderby=name desc and $top to versions that come oldest first.
func ordered(versions []string, c *provider.Call) ([]string, error) {
	versions = slices.Clone(versions)
	if strings.EqualFold(strings.Join(strings.Fields(queryOf(c, "$orderby")), " "), "name desc") {
		slices.Reverse(versions)
	}
	top := queryOf(c, "$top")
	if top == "" {
		return versions, nil
	}
	n, err := strconv.Atoi(top)
	if err != nil || n < 1 {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "$top", "$top is '%s'; it must be a number from 1.", top)
	}
	return versions[:min(n, len(versions))], nil
}

func (s *service) showVersion(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	p, err := s.Catalogue.Resolve(ctx, c.Vars["publisher"], c.Vars["offer"], c.Vars["sku"], c.Vars["version"])
	if errors.Is(err, ErrNoSuchImage) {
		return nil, s.notOffered(c)
	}
	if err != nil {
		return nil, err
	}
	id := c.Request.Path[:strings.LastIndexByte(c.Request.Path, '/')+1] + p.Version
	return provider.JSON(http.StatusOK, item{ID: id, Name: p.Version, Location: arm.NormalLocation(c.Vars["location"]), Properties: imageProperties(p)})
}

// imageProperties are what az needs of a marketplace image.
func imageProperties(p PlatformImage) map[string]any {
	osDisk := map[string]any{"operatingSystem": orLinux(p.OSType)}
	if p.SizeBytes > 0 {
		osDisk["sizeInGb"], osDisk["sizeInBytes"] = gibFor(p.SizeBytes), p.SizeBytes
	}
	return map[string]any{"architecture": "x64", "automaticOSUpgradeProperties": map[string]bool{"automaticOSUpgradeSupported": false},
		"dataDiskImages": []any{}, "hyperVGeneration": orV2(p.Generation), "osDiskImage": osDisk,
		"features": []map[string]string{{"name": "DiskControllerTypes", "value": "SCSI"}},
		"hallmark": map[string]string{"digest": p.Digest, "osId": p.OSID, "osVersion": p.OSVersion}}
}

func orLinux(s string) string {
	if s == "" {
		return "Linux"
	}
	return s
}

func orV2(s string) string {
	if s == "" {
		return "V2"
	}
	return s
}

// listByLocation is the one list of machines that is not under a group or subscription.
func (s *service) listByLocation(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	all, err := c.Client.List(ctx, c.Scope, TypeVM)
	if err != nil {
		return nil, err
	}
	here := slices.DeleteFunc(all, func(vm json.RawMessage) bool {
		return arm.NormalLocation(arm.GetString(vm, "location")) != arm.NormalLocation(c.Vars["location"])
	})
	return provider.Page(c, here)
}

func (s *service) listSizes(_ context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, z := range s.Sizes {
		list = append(list, map[string]any{"name": z.Name, "numberOfCores": z.VCPUs, "memoryInMB": z.MemoryMiB, "maxDataDiskCount": z.MaxDataDisks,
			"osDiskSizeInMB": 1047552, "resourceDiskSizeInMB": z.ResourceDiskMiB,
			"hallmark": map[string]int{"vCPUs": z.Granted.VCPUs, "memoryMiB": z.Granted.MemoryMiB}})
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": list})
}

func (s *service) listSKUs(_ context.Context, c *provider.Call) (*provider.Response, error) {
	locations := s.Locations
	if f := strings.Fields(strings.ReplaceAll(queryOf(c, "$filter"), "'", "")); len(f) == 3 && strings.EqualFold(f[0], "location") {
		locations = slices.DeleteFunc(slices.Clone(locations), func(l string) bool { return l != arm.NormalLocation(f[2]) })
	}
	list := []map[string]any{}
	for _, z := range s.Sizes {
		for _, l := range locations {
			list = append(list, sku(z, l))
		}
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": list})
}

func sku(z Size, location string) map[string]any {
	capability := func(name string, value string) map[string]string {
		return map[string]string{"name": name, "value": value}
	}
	tier, size, _ := strings.Cut(z.Name, "_")
	return map[string]any{"resourceType": "virtualMachines", "name": z.Name, "tier": tier, "size": size, "locations": []string{location},
		"locationInfo": []map[string]any{{"location": location, "zones": []string{}, "zoneDetails": []any{}}}, "restrictions": []any{},
		"capabilities": []map[string]string{
			capability("vCPUs", strconv.Itoa(z.VCPUs)), capability("MemoryGB", strconv.FormatFloat(float64(z.MemoryMiB)/1024, 'f', -1, 64)),
			capability("MaxDataDiskCount", strconv.Itoa(z.MaxDataDisks)), capability("HyperVGenerations", "V2"), capability("CpuArchitectureType", "x64"),
			capability("PremiumIO", "True"), capability("EncryptionAtHostSupported", "False"), capability("AcceleratedNetworkingEnabled", "False"),
		}}
}
