package policy

import (
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// looksAt is what a mode means for evaluation.
type looksAt uint8

const (
	looksAtAll looksAt = iota
	looksAtIndexed
	looksAtNothing // a data plane's business
)

func modeNamed(mode string) looksAt {
	switch {
	case value.EqualASCII(mode, "Indexed"):
		return looksAtIndexed
	case isDataPlane(mode):
		return looksAtNothing
	}
	return looksAtAll
}

// excludes says why the definition's mode leaves a resource out, "" if it does not.
func (p *Program) excludes(r *Resource) string {
	switch p.looks {
	case looksAtIndexed:
		if !r.indexed {
			return "mode Indexed looks only at types with tags and location, and " + r.typ + " has none"
		}
	case looksAtNothing:
		return "mode " + p.def.Mode + " is evaluated by that service's data plane, not here"
	}
	return ""
}

// isDataPlane says that a mode belongs to the data plane of a service, such as
// Microsoft.Kubernetes.Data.
func isDataPlane(mode string) bool { return strings.Contains(mode, ".") }

// untracked are namespaces, and types, whose resources have no tags and location.
var untracked = []string{
	"microsoft.authorization/", "microsoft.management/", "microsoft.policyinsights/", "microsoft.security/",
	"microsoft.guestconfiguration/", "microsoft.advisor/", "microsoft.consumption/", "microsoft.costmanagement/",
	"microsoft.insights/diagnosticsettings", "microsoft.subscription/", "microsoft.billing/",
	"microsoft.resources/subscriptions", "microsoft.resources/deployments", "microsoft.resources/tags",
	"microsoft.resourcegraph/", "microsoft.features/", "microsoft.aadiam/", "microsoft.aad/diagnosticsettings",
	"microsoft.securityinsights/", "microsoft.kubernetesconfiguration/", "microsoft.resourcehealth/", "microsoft.support/",
}

// trackedChildren are nested types that do carry tags and location.
var trackedChildren = map[string]bool{
	"microsoft.web/sites/slots": true, "microsoft.sql/servers/databases": true, "microsoft.sql/servers/elasticpools": true,
	"microsoft.sql/managedinstances/databases": true, "microsoft.sql/servers/jobagents": true,
	"microsoft.compute/galleries/images": true, "microsoft.compute/galleries/images/versions": true,
	"microsoft.compute/galleries/applications": true, "microsoft.compute/galleries/applications/versions": true,
	"microsoft.compute/virtualmachines/extensions": true, "microsoft.compute/virtualmachines/runcommands": true,
	"microsoft.compute/hostgroups/hosts": true, "microsoft.hybridcompute/machines/extensions": true,
	"microsoft.media/mediaservices/liveevents": true, "microsoft.media/mediaservices/streamingendpoints": true,
	"microsoft.synapse/workspaces/sqlpools": true, "microsoft.synapse/workspaces/bigdatapools": true,
	"microsoft.synapse/workspaces/kustopools": true, "microsoft.synapse/workspaces/scopepools": true,
	"microsoft.notificationhubs/namespaces/notificationhubs": true, "microsoft.powerbi/tenants/workspaces": true,
	"microsoft.timeseriesinsights/environments/eventsources": true, "microsoft.healthcareapis/workspaces/dicomservices": true,
	"microsoft.healthcareapis/workspaces/fhirservices": true, "microsoft.healthcareapis/workspaces/iotconnectors": true,
	"microsoft.cdn/profiles/endpoints": true, "microsoft.cdn/profiles/afdendpoints": true,
	"microsoft.netapp/netappaccounts/capacitypools": true, "microsoft.netapp/netappaccounts/capacitypools/volumes": true,
	"microsoft.machinelearningservices/workspaces/onlineendpoints": true, "microsoft.machinelearningservices/workspaces/computes": true,
	"microsoft.network/networkmanagers/ipampools": true, "microsoft.network/networkwatchers/flowlogs": true,
	"microsoft.network/networkwatchers/connectionmonitors": true, "microsoft.network/privatednszones/virtualnetworklinks": true,
	"microsoft.devcenter/projects/pools": true, "microsoft.automation/automationaccounts/runbooks": true,
	"microsoft.automation/automationaccounts/configurations": true, "microsoft.containerregistry/registries/replications": true,
	"microsoft.containerregistry/registries/webhooks": true, "microsoft.containerregistry/registries/tasks": true,
	"microsoft.devtestlab/labs/virtualmachines": true, "microsoft.cognitiveservices/accounts/projects": true,
}

// carriesTags reports whether resources of the type carry tags and location. There
// is no public list: a document that has them shows it; otherwise top-level types
// do, apart from the known exceptions, and nested ones do not, apart from theirs.
func (r *Resource) carriesTags() bool {
	if r.typ == "" || !r.root.Find(keyLocation).IsNothing() || !r.root.Find(keyTags).IsNothing() {
		return !isContainer(r.typ)
	}
	typ := value.LowerASCII(r.typ)
	for _, prefix := range untracked {
		if strings.HasPrefix(typ, prefix) {
			return false
		}
	}
	return strings.Count(typ, "/") == 1 || trackedChildren[typ]
}

// isContainer says that a type is a subscription or resource group: they may
// have tags, but only mode All looks at them.
func isContainer(typ string) bool {
	return value.EqualASCII(typ, "Microsoft.Resources/subscriptions") || value.EqualASCII(typ, "Microsoft.Resources/subscriptions/resourceGroups") ||
		value.EqualASCII(typ, "Microsoft.Resources/resourceGroups")
}

// TypeIsIndexed reports whether definitions of mode Indexed look at resources of
// a type, as far as the type alone tells.
func TypeIsIndexed(typ string) bool {
	return NewResource(value.FromFields([]value.Field{{Key: "type", Value: value.FromString(typ)}}).AsResource(), "").indexed
}
