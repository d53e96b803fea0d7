package template

import (
	"time"

	"hallmark.dev/hallmark/internal/arm"
)

// Context is where and when a template is deployed.
type Context struct {
	// Scope is the resource group or subscription that is deployed to.
	Scope arm.ID
	// Deployment is the deployment's name.
	Deployment string
	Location   string // of a deployment at a subscription
	// Now is what utcNow() says: when the deployment began.
	Now time.Time
	// NewGUID answers newGuid(); nil lets the function fail.
	NewGUID func() string

	// Subscription, ResourceGroup, Tenant, Deployer and Environment are what the
	// functions of these names return; Undefined: not known.
	Subscription, ResourceGroup, Tenant, Deployer, Environment Value
	// Provider is what providers(namespace) returns; nil: not known.
	Provider func(namespace string) Value

	// Partial expands as far as what is known allows: missing parameters and
	// context are no errors, what depends on them stays text, unknown conditions
	// count as true and loops of unknown length as one round.
	Partial bool
}

// Runtime answers what only a running control plane knows.
type Runtime interface {
	// Reference is the resource as GET shows it.
	Reference(id arm.ID, apiVersion string) (Value, error)
	// List calls a list function (listKeys and its like) of a resource.
	List(function string, id arm.ID, apiVersion string, parameters Value) (Value, error)
}
