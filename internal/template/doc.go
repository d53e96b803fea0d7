// Package template is the language of Azure Resource Manager templates: it reads
// a template, checks parameters against it, and expands it into the resources
// that it declares, in an order in which they can be made.
//
//   - Parse reads the text, as leniently as ARM does (comments, names without quotes).
//   - Template.Expand evaluates everything that is known before a deployment
//     starts: names, conditions, loops, dependencies, and as much of the bodies as
//     does not ask for the state of other resources.
//   - Plan.Body and Plan.Outputs evaluate the rest, when its time has come, with a
//     Runtime that answers reference() and list*().
//
// What is expanded depends on its arguments alone: the same template, parameters
// and Context give the same plan after a restart. Every problem has the line of
// the template that it is about.
//
// It knows no store, no HTTP, no resource provider, and deploys nothing: that is
// the deployments provider. The policy check of templates imports it, too.
package template
