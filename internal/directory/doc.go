// Package directory keeps who there is: applications with their service principals
// and hashed secrets, managed identities, groups with their members, and users of
// other issuers that were seen. Each is a document in the store, so that a machine
// and its identity come and go in one transaction.
//
// What they may do is not its business (package access), nor is how Microsoft Graph
// shows them (package graph). cmd, access, graph and the providers of things that
// have an identity import it.
package directory
