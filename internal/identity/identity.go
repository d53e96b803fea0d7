// Package identity says who is asking: principals, the directory of service
// principals with hashed secrets, the token issuer that az, Terraform and the SDKs
// sign in to, and the verification of their tokens.
//
// It decides nothing about what a principal may do (internal/rbac) and knows no
// resource. cmd, provider and frontdoor import it.
package identity

import (
	"context"
	"errors"
)

// Principal is an authenticated caller.
type Principal struct {
	ObjectID string // stable id that role assignments name
	AppID    string // client id; "" for people
	Name     string // display name, for messages and the audit trail
	TenantID string
	Kind     string // "ServicePrincipal", "User" or "System"
}

// System is the control plane itself: controllers act as it. Nobody can sign in as it.
var System = Principal{ObjectID: "00000000-0000-0000-0000-000000000000", Name: "Hallmark", Kind: "System"}

// ErrUnauthenticated is any reason why a token is not accepted.
var ErrUnauthenticated = errors.New("the access token is missing or not valid")

// Verifier turns a bearer token into a principal, or ErrUnauthenticated wrapped
// with the reason.
type Verifier interface {
	Verify(ctx context.Context, token string) (Principal, error)
}
