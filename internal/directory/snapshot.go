package directory

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/store"
)

// Snapshot is the whole directory at one moment.
type Snapshot struct {
	Principals []Principal
	Groups     []Group
	Users      []User

	kinds   map[string]string // object id in lower case → kind
	names   map[string]string
	issuers map[string]string // of users
}

// The kinds of objects, as role assignments call them.
const (
	KindServicePrincipal = "ServicePrincipal"
	KindGroup            = "Group"
	KindUser             = "User"
)

// Read reads the directory from one consistent state.
func Read(tx store.ReadTx) (*Snapshot, error) {
	s := &Snapshot{kinds: map[string]string{}, names: map[string]string{}, issuers: map[string]string{}}
	var err error
	if s.Principals, err = list[Principal](tx, TypePrincipal); err != nil {
		return nil, fmt.Errorf("reading service principals: %w", err)
	}
	if s.Groups, err = list[Group](tx, TypeGroup); err != nil {
		return nil, fmt.Errorf("reading groups: %w", err)
	}
	if s.Users, err = list[User](tx, TypeUser); err != nil {
		return nil, fmt.Errorf("reading users: %w", err)
	}
	for _, p := range s.Principals {
		s.add(p.ObjectID, KindServicePrincipal, p.DisplayName)
	}
	for _, g := range s.Groups {
		s.add(g.ObjectID, KindGroup, g.DisplayName)
	}
	for _, u := range s.Users {
		s.add(u.ObjectID, KindUser, u.DisplayName)
		s.issuers[strings.ToLower(u.ObjectID)] = u.Issuer
	}
	return s, nil
}

// add: the first one counts. Users come last: their ids are an issuer's choice, and
// must not hide an object of our own.
func (s *Snapshot) add(id, kind, name string) {
	if id != "" && s.Kind(id) == "" {
		s.kinds[strings.ToLower(id)], s.names[strings.ToLower(id)] = kind, name
	}
}

// Kind is what an object id names; "" if nothing.
func (s *Snapshot) Kind(objectID string) string { return s.kinds[strings.ToLower(objectID)] }

// Issuer is the issuer of a user; "" of everything else.
func (s *Snapshot) Issuer(objectID string) string { return s.issuers[strings.ToLower(objectID)] }

// Name is the display name of an object.
func (s *Snapshot) Name(objectID string) string { return s.names[strings.ToLower(objectID)] }

// Members are the direct members of every group.
func (s *Snapshot) Members() map[string][]string {
	all := map[string][]string{}
	for _, g := range s.Groups {
		all[g.ObjectID] = g.Members
	}
	return all
}
