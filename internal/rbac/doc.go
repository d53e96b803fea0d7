// Package rbac decides what a principal may do, by Azure's rules: roles allow
// actions by patterns and take some out again, assignments give a role to a
// principal or group at a scope and everything below, rights add up, and what
// nobody allows is denied.
//
// It is pure: Compile makes a Set of plain data, and a Set answers. Who keeps roles,
// assignments, groups and management groups is package access's business, which also
// is the only importer besides the providers that show roles. Conditions (ABAC) are
// not known here: nobody can store one.
package rbac
