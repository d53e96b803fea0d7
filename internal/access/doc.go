// Package access is the one place that knows who may do what here: it reads role
// definitions, role assignments, groups and management groups from the store,
// compiles them (package rbac does), and answers for a caller.
//
// An Index keeps the compiled Set of the newest revision; asking it reads nothing
// from the store while nothing is written. It implements provider.Authorizer, and
// lets a write's transaction check that the rights it was decided by still hold.
// Shapes of roles and assignments as documents are here too; what clients may put
// into them is decided by package rp/roles. cmd, graph and rp/roles import it.
package access
