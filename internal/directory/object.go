package directory

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// The types of the directory's documents. They are served by package graph only.
const (
	TypePrincipal arm.Type = "Microsoft.Graph/servicePrincipals"
	TypeGroup     arm.Type = "Microsoft.Graph/groups"
	TypeUser      arm.Type = "Microsoft.Graph/users"
	typeEpoch     arm.Type = "Hallmark.Access/epochs"
)

// IsSource reports whether a change of a document of this type changes the directory.
func IsSource(t arm.Type) bool {
	return t.Equal(TypePrincipal) || t.Equal(TypeGroup) || t.Equal(TypeUser)
}

// Kinds of service principals, as Microsoft Graph calls them.
const (
	Application     = "Application"
	ManagedIdentity = "ManagedIdentity"
)

// Principal is an application and its service principal, or a managed identity. The
// directory knows it by AppID.
type Principal struct {
	AppID         string    `json:"appId"`
	ObjectID      string    `json:"objectId,omitempty"`      // of the service principal; "" before it is made
	ApplicationID string    `json:"applicationId,omitempty"` // of the application; "" for managed identities
	Kind          string    `json:"kind"`
	Resource      string    `json:"resource,omitempty"` // that a managed identity belongs to
	DisplayName   string    `json:"displayName"`
	URIs          []string  `json:"uris,omitempty"` // further names
	Tags          []string  `json:"tags,omitempty"`
	Created       time.Time `json:"created"`

	Secrets []identity.Secret `json:"secrets,omitempty"`
}

// Identity is the principal as a caller of the tenant.
func (p Principal) Identity(tenant string) identity.Principal {
	return identity.Principal{ObjectID: p.ObjectID, AppID: p.AppID, Name: p.DisplayName, TenantID: tenant, Kind: "ServicePrincipal"}
}

// Group is a group. Members are object ids of anything, groups included.
type Group struct {
	ObjectID     string    `json:"objectId"`
	DisplayName  string    `json:"displayName"`
	MailNickname string    `json:"mailNickname"`
	Description  string    `json:"description,omitempty"`
	Created      time.Time `json:"created"`
	Members      []string  `json:"members,omitempty"`
}

// User is a person of another issuer who was here.
type User struct {
	ObjectID    string    `json:"objectId"`
	DisplayName string    `json:"displayName"`
	Name        string    `json:"userPrincipalName"`
	Issuer      string    `json:"issuer"`
	Created     time.Time `json:"created"`
}

func principalID(appID string) arm.ID {
	return arm.Tenant.Resource(TypePrincipal, strings.ToLower(appID))
}
func groupID(id string) arm.ID { return arm.Tenant.Resource(TypeGroup, strings.ToLower(id)) }
func userID(id string) arm.ID  { return arm.Tenant.Resource(TypeUser, strings.ToLower(id)) }

// put stores an object. It is Private as a whole: nothing of the directory is ever
// shown as a resource.
func put(tx store.Tx, id arm.ID, v any, at time.Time) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", id, err)
	}
	d := &store.Document{ID: id.String(), Type: id.Type(), Body: json.RawMessage("{}"), Private: raw, CreatedAt: at, UpdatedAt: at}
	if err := tx.Put(d, store.Any); err != nil {
		return fmt.Errorf("writing %s: %w", id, err)
	}
	return Touch(tx)
}

func get[T any](tx store.ReadTx, id arm.ID) (v T, err error) {
	d, err := tx.Get(id.Key())
	if err != nil {
		return v, err
	}
	return read[T](d)
}

func read[T any](d *store.Document) (v T, err error) {
	if err := json.Unmarshal(d.Private, &v); err != nil {
		return v, fmt.Errorf("reading %s: %w", d.ID, err)
	}
	return v, nil
}

func list[T any](tx store.ReadTx, typ arm.Type) (all []T, err error) {
	err = store.Each(tx, store.Query{Type: typ}, func(d *store.Document) error {
		v, err := read[T](d)
		all = append(all, v)
		return err
	})
	return all, err
}
