package estate

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// Related is a resource that hangs on a machine, for the existence checks of one or
// more definitions: for every other machine it meets them.
type Related struct {
	path        string // behind the machine's id
	typ         string
	met, missed value.Value // properties
}

// onMachines are the types that hang on a machine, with the path to them.
var onMachines = map[string]string{
	"microsoft.compute/virtualmachines/extensions":               "/extensions/",
	"microsoft.guestconfiguration/guestconfigurationassignments": "/providers/Microsoft.GuestConfiguration/guestConfigurationAssignments/",
	"microsoft.security/assessments":                             "/providers/Microsoft.Security/assessments/",
	"microsoft.insights/datacollectionruleassociations":          "/providers/Microsoft.Insights/dataCollectionRuleAssociations/",
	"microsoft.automanage/configurationprofileassignments":       "/providers/Microsoft.Automanage/configurationProfileAssignments/",
	"microsoft.maintenance/configurationassignments":             "/providers/Microsoft.Maintenance/configurationAssignments/",
}

// RelatedTo are the resources that hang on every machine, for the checks that look
// there. The number says how many of the checks those are.
func RelatedTo(checks []Check) (all []Related, served int) {
	seen := map[string]bool{}
	for i := range checks {
		c := &checks[i]
		if c.Met == nil || c.Missed == nil || c.Query.ExistenceScope != "" || c.Query.ResourceGroupName != "" {
			continue
		}
		below, ok := onMachines[strings.ToLower(c.Query.Type)]
		if !ok {
			continue
		}
		served++
		met := properties(c.Met)
		name := c.Query.Name
		if name == "" { // one of several: named for what it is
			name = strings.Trim(met.Get("publisher").Str()+"."+met.Get("type").Str(), ".")
		}
		if name = strings.NewReplacer("/", "-", " ", "-", "[", "-", "]", "-").Replace(name); name == "" {
			name = "default"
		}
		if key := strings.ToLower(below + name); !seen[key] {
			seen[key] = true
			all = append(all, Related{path: below + name, typ: c.Query.Type, met: met, missed: properties(c.Missed)})
		}
	}
	return all, served
}

func properties(r *policy.Resource) value.Value { return r.Root().AsPlain().Get("properties") }

// Type is the resource type.
func (r *Related) Type() string { return r.typ }

// Of is the resource's id on the i-th machine, and its document.
func (r *Related) Of(machine string, i uint64) (id, body string) {
	properties := r.missed
	if i%2 == 0 {
		properties = r.met
	}
	id = machine + r.path
	return id, fmt.Sprintf(`{"id":%q,"name":%q,"type":%q,"properties":%s}`, id, id[strings.LastIndexByte(id, '/')+1:], r.typ, properties.JSON())
}
