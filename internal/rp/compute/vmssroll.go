package compute

import (
	"context"
	"net/http"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Azure's defaults of a rolling upgrade, in percent.
const defaultPercent = 20

// rollingRound is the policy of a rolling upgrade as it was at its start, and where it is.
type rollingRound struct {
	Batch                int           `json:"batch"` // instances at a time
	MaxUnhealthy         int           `json:"maxUnhealthy"`
	MaxUnhealthyUpgraded int           `json:"maxUnhealthyUpgraded"`
	Pause                time.Duration `json:"pause"`
	NotBefore            time.Time     `json:"notBefore,omitzero"` // of the next batch; zero while one is on
	Started              time.Time     `json:"started"`
	Canceled             bool          `json:"canceled,omitempty"`
	ByItself             bool          `json:"byItself,omitempty"`
	Policy               rollingPolicy `json:"policy"`
}

// upgradeRecord is how a rolling upgrade ended.
type upgradeRecord struct {
	Code       string        `json:"code"`
	Started    time.Time     `json:"started"`
	Ended      time.Time     `json:"ended"`
	Policy     rollingPolicy `json:"policy"`
	Successful int           `json:"successful"`
	Failed     int           `json:"failed"`
	Pending    int           `json:"pending"`
	ByItself   bool          `json:"byItself,omitempty"`
	Error      *arm.Error    `json:"error,omitempty"`
}

// rollingOver plans a rolling upgrade of the named instances.
func rollingOver(names []string, b setBody, now time.Time) *round {
	p := b.Properties.UpgradePolicy.RollingUpgradePolicy
	pause, _ := duration(p.PauseTimeBetweenBatches) // Validate has read it; none is no pause
	return &round{Ask: askUpgrade, Left: names, Rolling: &rollingRound{
		Batch: max(1, len(names)*or20(p.MaxBatchInstancePercent)/100), MaxUnhealthy: or20(p.MaxUnhealthyInstancePercent),
		MaxUnhealthyUpgraded: or20(p.MaxUnhealthyUpgradedInstancePercent), Pause: pause, Started: now, Policy: p}}
}

func or20(percent *int) int {
	if percent == nil {
		return defaultPercent
	}
	return *percent
}

// mayGoOn says whether a rolling upgrade may take the next batch: all counts are of
// instances, asked are those that have been upgraded.
func (r *rollingRound) mayGoOn(total, unhealthy, asked, unhealthyAsked int) *arm.Error {
	switch {
	case asked == 0 && unhealthy*100 > r.MaxUnhealthy*total:
		return arm.Conflict("MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade", "",
			"Rolling Upgrade failed: %d of %d instances are unhealthy before it begins, and %d%% may be. Repair or delete them first.", unhealthy, total, r.MaxUnhealthy)
	case asked > 0 && unhealthyAsked*100 > r.MaxUnhealthyUpgraded*asked:
		return arm.Conflict("MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade", "",
			"Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the RollingUpgradePolicy: %d of %d upgraded instances are unhealthy, and %d%% may be. The other instances keep the former model.", unhealthyAsked, asked, r.MaxUnhealthyUpgraded)
	case asked > 0 && unhealthy*100 > r.MaxUnhealthy*total:
		return arm.Conflict("MaxUnhealthyInstancePercentExceededInRollingUpgrade", "",
			"Rolling Upgrade failed: %d of %d instances are unhealthy, and %d%% may be.", unhealthy, total, r.MaxUnhealthy)
	}
	return nil
}

const rollingUpgrades = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}/rollingUpgrades/"

func (s *service) rollingRoutes() []provider.Route {
	return []provider.Route{
		{Pattern: rollingUpgrades + "latest", Permission: string(TypeScaleSet) + "/rollingUpgrades/read", Handle: latestUpgrade,
			Type: TypeScaleSet + "/rollingUpgrades", APIVersions: computeVersions},
		{Method: "POST", Pattern: rollingUpgrades + "cancel", Permission: string(TypeScaleSet) + "/rollingUpgrades/action", Handle: cancelRoute},
	}
}

func cancelRoute(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	// The permission is this route's; the action behind it has none of its own in Azure.
	_, err := c.Client.As(identity.System).Post(ctx, c.Scope.Resource(TypeScaleSet, c.Vars["name"]), actionCancelUpgrade, nil)
	return &provider.Response{Status: http.StatusOK}, err
}

func latestUpgrade(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	id := c.Scope.Resource(TypeScaleSet, c.Vars["name"])
	if _, err := c.Client.Get(ctx, id); err != nil {
		return nil, err
	}
	d, err := store.Get(ctx, c.Runtime.Store, id.Key())
	if err != nil {
		return nil, err
	}
	_, p := readSet(d)
	u := p.upgrade(c.Runtime.Now())
	if u == nil {
		return nil, arm.Errorf(http.StatusNotFound, "RollingUpgradeNotFound", "The scale set '%s' has had no rolling upgrade.", id.Name()).At(id.String())
	}
	return provider.JSON(http.StatusOK, u.view(d, id))
}

// upgrade is the rolling upgrade that goes on, or the last one.
func (p setState) upgrade(now time.Time) *upgradeRecord {
	if p.Round == nil || p.Round.Rolling == nil {
		return p.Last
	}
	return p.Round.record("RollingForward", now, nil)
}

func (r *round) record(code string, now time.Time, failed []string) *upgradeRecord {
	return &upgradeRecord{Code: code, Started: r.Rolling.Started, Ended: now, Policy: r.Rolling.Policy,
		Successful: len(r.Asked) - len(failed), Failed: len(failed), Pending: len(r.Left), ByItself: r.Rolling.ByItself}
}

func (u *upgradeRecord) view(d *store.Document, id arm.ID) map[string]any {
	properties := map[string]any{
		"policy":        u.Policy,
		"runningStatus": map[string]any{"code": u.Code, "startTime": u.Started, "lastActionTime": u.Ended, "lastAction": "Start"},
		"progress":      map[string]int{"successfulInstanceCount": u.Successful, "failedInstanceCount": u.Failed, "inProgressInstanceCount": 0, "pendingInstanceCount": u.Pending},
	}
	if u.Error != nil {
		properties["error"] = map[string]string{"code": u.Error.Code, "message": u.Error.Message}
	}
	return map[string]any{"id": id.String() + "/rollingUpgrades/latest", "name": "latest", "type": string(TypeScaleSet) + "/rollingUpgrades", "location": d.Location, "properties": properties}
}
