package compute

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const (
	uniform, flexible  = "Uniform", "Flexible"
	manual, automatic  = "Manual", "Automatic"
	rolling            = "Rolling"
	pathCapacity       = "sku.capacity"
	pathProfile        = "properties.virtualMachineProfile"
	pathOrchestration  = "properties.orchestrationMode"
	pathUpgradeMode    = "properties.upgradePolicy.mode"
	pathComputerPrefix = pathProfile + ".osProfile.computerNamePrefix"

	maxCapacity = 1000
	// suffixLength is what computer names have behind their prefix.
	suffixLength = 6
)

// setBody is what this provider reads of a scale set's document.
type setBody struct {
	Location string
	SKU      struct {
		Name     string
		Capacity int
	}
	Properties struct {
		OrchestrationMode     string
		SinglePlacementGroup  *bool
		UpgradePolicy         upgradePolicy
		ScaleInPolicy         struct{ Rules []string }
		VirtualMachineProfile json.RawMessage
	}
}

type upgradePolicy struct {
	Mode                     string
	RollingUpgradePolicy     rollingPolicy
	AutomaticOSUpgradePolicy struct{ EnableAutomaticOSUpgrade bool }
}

// rollingPolicy is ARM's, in percent; what is left out has Azure's defaults.
type rollingPolicy struct {
	MaxBatchInstancePercent             *int   `json:"maxBatchInstancePercent"`
	MaxUnhealthyInstancePercent         *int   `json:"maxUnhealthyInstancePercent"`
	MaxUnhealthyUpgradedInstancePercent *int   `json:"maxUnhealthyUpgradedInstancePercent"`
	PauseTimeBetweenBatches             string `json:"pauseTimeBetweenBatches"`
}

// setState is a scale set's Private.
type setState struct {
	// Model is the fingerprint of what members are made from.
	Model        string `json:"model,omitempty"`
	PasswordHash string `json:"passwordHash,omitempty"` // crypt(5)
	CustomData   []byte `json:"customData,omitempty"`   // sealed
	// Specialized: the model's image has its users and names already.
	Specialized bool `json:"specialized,omitempty"`
	// Next is the number of the next instance; numbers are never used again.
	Next int `json:"next"`
	// Planned are members that are about to be made.
	Planned []planned `json:"planned,omitempty"`
	// Replace: members whose creation failed are to be made anew.
	Replace bool `json:"replace,omitempty"`
	// Upgrade: members are to be brought to a model that has changed.
	Upgrade bool   `json:"upgrade,omitempty"`
	Round   *round `json:"round,omitempty"`
	// Last is the last rolling upgrade.
	Last *upgradeRecord `json:"last,omitempty"`
	// Tried is the image that an automatic upgrade has been begun to: one that fails is not
	// begun again by itself.
	Tried string `json:"tried,omitempty"`
}

type planned struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
}

func readSet(d *store.Document) (b setBody, p setState) {
	_ = json.Unmarshal(d.Body, &b) // Validate reports what cannot be read
	_ = json.Unmarshal(d.Private, &p)
	return b, p
}

func (b setBody) flexible() bool {
	return strings.EqualFold(b.Properties.OrchestrationMode, flexible)
}

func (b setBody) hasProfile() bool {
	p := bytes.TrimSpace(b.Properties.VirtualMachineProfile)
	return len(p) > 0 && p[0] == '{'
}

func (b setBody) upgrades(mode string) bool {
	return strings.EqualFold(b.Properties.UpgradePolicy.Mode, mode)
}

func (s *service) scaleSets() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeScaleSet, Scopes: provider.AtResourceGroup, APIVersions: computeVersions, Name: vmName, NameHint: vmNameHint,
		Location: provider.LocationRequired, Tags: true, CascadeDelete: true, Identity: true,
		ReadOnly: []string{"properties.uniqueId", "properties.timeCreated", "properties.hallmark"},
		Load:     s.loadSet, Default: s.defaultSet, Validate: s.validateSet,
		CheckDelete: checkNobodysMachines,
		Reconcile:   s.reconcileSet, Workers: workers,
		Watches: map[arm.Type]func(string, *store.Document) []string{TypeInstance: wakeSet, TypeVM: wakeSet, typeGalleryVersion: s.wakeFollowers},
		Removed: s.removedMember,
		Actions: s.setActions(),
	}
}

// fingerprint names a model by what it says, however it is written. The capacity is no
// part of it.
func fingerprint(b setBody, p setState) string {
	h := sha256.New()
	for _, part := range []string{string(canonical(b.Properties.VirtualMachineProfile)), strings.ToLower(b.SKU.Name), p.PasswordHash, string(p.CustomData)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// canonical is JSON with sorted names and without nulls.
func canonical(raw json.RawMessage) json.RawMessage {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return raw
	}
	out, err := json.Marshal(withoutNulls(v))
	if err != nil {
		return raw
	}
	return out
}

// withBooleans makes booleans of "true" and "false": az writes some of a scale set's as text, and
// clients that have types cannot read them back so.
func withBooleans(v any) any {
	switch v := v.(type) {
	case string:
		if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") {
			return strings.EqualFold(v, "true")
		}
	case map[string]any:
		for name, value := range v {
			v[name] = withBooleans(value)
		}
	case []any:
		for i := range v {
			v[i] = withBooleans(v[i])
		}
	}
	return v
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if value == nil {
				delete(v, name)
				continue
			}
			v[name] = withoutNulls(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}

// member is the request body that makes a member of the set: a machine as the model says.
func member(set arm.ID, b setBody, p setState, tags map[string]string, number int) (map[string]any, error) {
	properties, err := memberProperties(set, b, number)
	if err != nil {
		return nil, err
	}
	return map[string]any{"location": b.Location, "tags": tags, "properties": properties, pathMembership: tell(b, p)}, nil
}

func tell(b setBody, p setState) membership {
	sku, _ := json.Marshal(map[string]string{"name": b.SKU.Name, "tier": "Standard"}) // strings
	return membership{Model: p.Model, PasswordHash: p.PasswordHash, CustomData: p.CustomData, SKU: sku}
}

// notOfMembers are parts of a model that a machine's document does not have: names that
// would be the same on all members, what belongs to the set, and secrets, which
// travel by membership.
var notOfMembers = []string{
	"extensionProfile", "networkProfile.healthProbe", "osProfile.computerNamePrefix", "osProfile.adminPassword", "osProfile.customData",
	"storageProfile.osDisk.name", "storageProfile.osDisk.vhdContainers", "storageProfile.imageReference.exactVersion",
}

func memberProperties(set arm.ID, b setBody, number int) (json.RawMessage, error) {
	body := b.Properties.VirtualMachineProfile
	prefix := arm.GetString(body, "osProfile.computerNamePrefix")
	for _, path := range notOfMembers {
		body = arm.Remove(body, path)
	}
	edits := []edit{{"hardwareProfile.vmSize", b.SKU.Name, false}, {"storageProfile.osDisk.deleteOption", "Delete", true}, {"storageProfile.dataDisks", memberDisks(body), false}}
	if _, ok := arm.Get(body, "osProfile"); ok {
		edits = append(edits, edit{"osProfile.computerName", computerName(prefix, number), false})
	}
	if b.flexible() {
		edits = append(edits, edit{"virtualMachineScaleSet.id", set.String(), false})
	}
	d := &store.Document{Body: body}
	err := apply(d, edits...)
	return d.Body, err
}

func memberDisks(profile json.RawMessage) []json.RawMessage {
	raw, _ := arm.Get(profile, "storageProfile.dataDisks")
	var list []json.RawMessage
	_ = json.Unmarshal(raw, &list) // Validate says so
	out := []json.RawMessage{}
	for _, entry := range list {
		entry = arm.Remove(entry, "name")
		if _, ok := arm.Get(entry, "deleteOption"); !ok {
			if with, err := arm.Set(entry, "deleteOption", "Delete"); err == nil {
				entry = with
			}
		}
		out = append(out, entry)
	}
	return out
}

// computerName is how Azure names the computers of a set: the prefix, and the instance's
// number to base 36 with six digits.
func computerName(prefix string, number int) string {
	digits := strings.ToUpper(strconv.FormatInt(int64(number), 36))
	return prefix + strings.Repeat("0", max(0, suffixLength-len(digits))) + digits
}

// duration reads ISO 8601 durations such as PT1H30M and PT0S.
func duration(text string) (time.Duration, error) {
	rest, ok := strings.CutPrefix(strings.ToUpper(text), "PT")
	if !ok || rest == "" {
		return 0, fmt.Errorf("'%s' is not an ISO 8601 duration such as PT30S", text)
	}
	d, err := time.ParseDuration(strings.ToLower(rest))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("'%s' is not an ISO 8601 duration such as PT30S", text)
	}
	return d, nil
}
