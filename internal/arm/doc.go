// Package arm holds the words of Azure Resource Manager as plain values: resource
// ids, types, scopes, api-versions, locations, the error envelope, provisioning
// states, list pages, and reading and writing of raw JSON documents without
// losing what we do not know.
//
// It does no I/O, knows no resource type and no store. Every package may import it;
// it imports none of ours.
package arm
