// Package identity says who is asking: principals, secrets and how they are
// recognised, the token issuer that az, Terraform and the SDKs sign in to, and the
// verification of its tokens. (Those of other issuers: package federation. Which
// principals there are: package directory.)
//
// It decides nothing about what a principal may do (internal/rbac) and knows no
// resource. cmd, provider, frontdoor, directory, access and federation import it.
package identity

import (
	"context"
	"errors"
	"strings"
)

// Principal is an authenticated caller. It can be compared.
type Principal struct {
	ObjectID string // stable id that role assignments name
	AppID    string // client id; "" for people
	Name     string // display name, for messages and the audit trail
	TenantID string
	Kind     string // "ServicePrincipal", "User" or "System"
	Issuer   string // of the token, if it is not our own: its URL
	Groups   Groups // that the token of another issuer names
}

// Groups are ids of groups. (Not a slice, so that a Principal can be compared.)
type Groups string

// NewGroups makes Groups of ids; such with line breaks are left out.
func NewGroups(ids []string) Groups {
	var keep []string
	for _, id := range ids {
		if id != "" && !strings.Contains(id, "\n") {
			keep = append(keep, id)
		}
	}
	return Groups(strings.Join(keep, "\n"))
}

// IDs are the groups' ids.
func (g Groups) IDs() []string {
	if g == "" {
		return nil
	}
	return strings.Split(string(g), "\n")
}

// System is the control plane itself: controllers act as it. Nobody can sign in as it.
var System = Principal{ObjectID: "00000000-0000-0000-0000-000000000000", Name: "Hallmark", Kind: "System"}

// ErrUnauthenticated is any reason why a token is not accepted.
var ErrUnauthenticated = errors.New("the access token is missing or not valid")

// Verifier turns a bearer token into a principal, or ErrUnauthenticated wrapped
// with the reason; the reason may be a *TokenError.
type Verifier interface {
	Verify(ctx context.Context, token string) (Principal, error)
}
