// Package policy is the Azure Policy language: definitions are parsed (every
// error with its JSON path and position), compiled against an alias table and an
// assignment's parameters, and evaluated over resource documents.
//
// The three stages are visible: ParseDefinition gives a Definition, Compile a
// Program, Program.Evaluate a Verdict. A Program is immutable; any number of
// goroutines may evaluate it. There is no clock, no store and no lock in here:
// the time, the request and related resources are handed in with the Input.
//
// It knows nothing of assignments' scopes, exemptions or compliance states; those
// belong to its callers.
package policy
