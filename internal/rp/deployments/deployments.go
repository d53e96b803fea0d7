// Package deployments is the type Microsoft.Resources/deployments at resource groups
// and subscriptions, in incremental mode: it makes the resources of a template in the
// order of their dependencies, side by side where they are free, as the caller and
// through the same pipeline as any request.
//
// What a template means is package template's; this package keeps what was asked
// (sealed: it holds secrets), what has been done, and what clients see of it. Every
// resource is noted before it is asked for, so a killed process goes on where it
// was: asking once more for what may have been asked for changes nothing.
//
// cmd imports it; no other rp may.
package deployments

import (
	"regexp"
	"sync"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/template"
)

// Type is the type of deployments.
const Type = template.TypeDeployment

// Sealer encrypts what a deployment was started with.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

// Config is what the provider works with.
type Config struct {
	Sealer   Sealer
	TenantID string
	URL      string // of this server, for environment()
}

var (
	apiVersions = []string{"2025-04-01", "2024-11-01", "2022-09-01", "2021-04-01", "2020-10-01", "2020-06-01", "2019-10-01", "2018-05-01"}
	name        = regexp.MustCompile(`^[-\w.()]{1,64}$`)
)

// workers is how many deployments are driven at the same time; one never blocks
// its worker while it waits for a resource.
const workers = 8

type service struct {
	Config
	plans sync.Map // key → *planned
}

// New is the provider.
func New(cfg Config) provider.Provider {
	s := &service{Config: cfg}
	return provider.Provider{
		Types: []provider.ResourceType{{
			Type: Type, Scopes: provider.AtResourceGroup | provider.AtSubscription, APIVersions: apiVersions,
			Name: name, NameHint: "1 to 64 letters, digits, '-', '_', '.', '(' and ')'",
			Tags: true, Hidden: true, NoPatch: true,
			WriteWhileBusy: true, // refused by load, with the code that clients know
			Decode:         decode, Load: s.load, Default: s.fill,
			CheckDelete: checkDelete, Reconcile: s.reconcile, Workers: workers,
			Actions: []provider.Action{
				{Name: "cancel", WhileBusy: true, Code: 204, Apply: cancel},
				{Name: "exportTemplate", WhileBusy: true, Apply: s.export},
			},
		}},
		Routes: s.routes(),
	}
}

func (s *service) routes() []provider.Route {
	const at = "{scope...}/providers/Microsoft.Resources/deployments/{deployment}"
	const old = "/subscriptions/{subscription}/resourcegroups/{resourceGroup}/deployments/{deployment}" // what the SDKs send
	var all []provider.Route
	for _, base := range []string{at, old} {
		all = append(all,
			provider.Route{Pattern: base + "/operations", Permission: string(Type) + "/operations/read", Handle: s.operations},
			provider.Route{Pattern: base + "/operations/{operation}", Permission: string(Type) + "/operations/read", Handle: s.operation})
	}
	return append(all,
		provider.Route{Method: "POST", Pattern: at + "/validate", Permission: string(Type) + "/validate/action", RawBody: true, Handle: s.validate},
		provider.Route{Method: "POST", Pattern: at + "/whatIf", Permission: string(Type) + "/whatIf/action", RawBody: true, Handle: whatIf},
		provider.Route{Method: "POST", Pattern: "/providers/Microsoft.Resources/calculateTemplateHash", Permission: "Microsoft.Resources/calculateTemplateHash/action",
			RawBody: true, Handle: calculateHash})
}

func id(c *provider.Call) arm.ID { return c.Scope.Resource(Type, c.Vars["deployment"]) }
