package graph

import (
	"strings"

	"hallmark.dev/hallmark/internal/directory"
)

func listUsers(c *call) (any, error) {
	var all []object
	for _, u := range c.set.Directory.Users {
		all = append(all, user(u))
	}
	return c.collection(all)
}

// user is a user by object id or user principal name.
func (c *call) user(id string) (directory.User, bool) {
	for _, u := range c.set.Directory.Users {
		if strings.EqualFold(u.ObjectID, id) || strings.EqualFold(u.Name, id) {
			return u, true
		}
	}
	return directory.User{}, false
}

func showUser(c *call) (any, error) {
	u, ok := c.user(c.PathValue("id"))
	if !ok {
		return nil, notFound(c.PathValue("id"))
	}
	return user(u), nil
}

func noUsers(*call) (any, error) {
	return nil, failure(400, "Request_BadRequest", "Users are not kept here: they sign in at an issuer that config.yaml names, and are known from then on.")
}

func me(c *call) (any, error) {
	if u, ok := c.user(c.principal.ObjectID); ok {
		return user(u), nil
	}
	return nil, failure(400, "Request_BadRequest", "/me request is only valid with delegated authentication flow: you are the service principal %s.", c.principal.ObjectID)
}

func showObject(c *call) (any, error) {
	if o := c.find(c.PathValue("id")); o != nil {
		return o, nil
	}
	return nil, notFound(c.PathValue("id"))
}

const maxIDs = 1000

func objectsByID(c *call) (any, error) {
	var b struct {
		IDs   []string
		Types []string
	}
	if err := c.body(&b); err != nil {
		return nil, err
	}
	if len(b.IDs) > maxIDs {
		return nil, failure(400, "Request_BadRequest", "There are %d ids; at most %d are possible.", len(b.IDs), maxIDs)
	}
	var all []object
	for _, id := range b.IDs {
		if o := c.find(id); o != nil && wanted(b.Types, o) {
			all = append(all, o)
		}
	}
	return c.collection(all)
}

func wanted(types []string, o object) bool {
	kind, _ := o["@odata.type"].(string)
	for _, t := range types {
		if strings.EqualFold(t, "directoryObject") || strings.EqualFold("#microsoft.graph."+t, kind) {
			return true
		}
	}
	return len(types) == 0
}
