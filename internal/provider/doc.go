// Package provider turns resource types, each one registered value, into a
// working part of the control plane: routes, api-versions, the providers listing,
// RBAC actions, long-running operations and workers all derive from that value.
//
// A write takes one way, whoever asks (a client over HTTPS, another provider, a
// controller):
//
//	authorise → decode → load → default → validate → admit
//	          → ONE transaction: resource + operation + audit event → respond
//
// The words of the package:
//
//   - ResourceType: all there is to know about a type. Hooks see raw JSON, so what
//     nobody knows survives, whatever api-version wrote it.
//   - Write: one change on its way through the pipeline.
//   - Work and Draft: what a controller gets, and how it writes status. Desired state
//     is in the document before anything is done, so Reconcile may be killed anywhere.
//   - Operation: ends in the same transaction in which its resource gets there.
//   - Client: calls other types through the same pipeline; providers never import one another.
//
// Invariants: nothing is written without the Authorizer's yes (controllers act as
// identity.System, which nobody can sign in as); nothing reaches a client but Body, as
// View shows it; no input panics; an inner error's text stays in the log.
//
// Providers (internal/rp/NAME), frontdoor and cmd import it. It knows no concrete
// type and no HTTP server. providertest starts all of it in memory.
package provider
