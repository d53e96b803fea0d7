// Package compliance knows of every resource whether it complies with the policies
// that are effective on it.
//
// An Engine follows the store's revisions: a changed resource is evaluated at once,
// a changed policy over what it covers, a changed image over the machines made from
// it, a changed related resource over those that look for it. Verdicts are kept
// compactly, one document for each resource, so that a restart goes on where it was.
// A reader asks the engine to catch up first (Wait), and never sees a verdict that
// is known to be stale.
//
// What is exempt or attested is laid over the verdicts when they are read, so that
// both take effect, and end, on time. It serves no HTTP (rp/policyinsights does) and
// refuses nothing (package admission does). docs/compliance.md tells how states come
// about.
package compliance
