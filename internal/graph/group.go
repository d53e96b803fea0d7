package graph

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
)

func listGroups(c *call) (any, error) {
	var all []object
	for _, g := range c.set.Directory.Groups {
		all = append(all, group(g))
	}
	return c.collection(all)
}

func (c *call) group() (directory.Group, error) {
	id := c.PathValue("id")
	for _, g := range c.set.Directory.Groups {
		if strings.EqualFold(g.ObjectID, id) {
			return g, nil
		}
	}
	return directory.Group{}, notFound(id)
}

func showGroup(c *call) (any, error) {
	g, err := c.group()
	return group(g), err
}

type groupBody struct {
	DisplayName, MailNickname, Description *string
}

func (b groupBody) apply(g *directory.Group) error {
	for from, to := range map[*string]*string{b.DisplayName: &g.DisplayName, b.MailNickname: &g.MailNickname, b.Description: &g.Description} {
		if from != nil {
			*to = *from
		}
	}
	if g.DisplayName == "" || len(g.DisplayName) > maxName {
		return failure(400, "Request_BadRequest", "Invalid value specified for property 'displayName' of resource 'Group': it must have from 1 to %d characters.", maxName)
	}
	return nil
}

func createGroup(c *call) (any, error) {
	var b groupBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	g := directory.Group{ObjectID: identity.NewID(), Created: c.cfg.Now().UTC()}
	if err := b.apply(&g); err != nil {
		return nil, err
	}
	c.status = 201
	return group(g), c.changing("groups/write", "groups/"+g.ObjectID).AddGroup(c.Context(), g)
}

func updateGroup(c *call) (any, error) {
	var b groupBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	_, err := c.changing("groups/write", "groups/"+c.PathValue("id")).EditGroup(c.Context(), c.PathValue("id"), b.apply)
	return nil, explain(err)
}

func deleteGroup(c *call) (any, error) {
	id := c.PathValue("id")
	return nil, explain(c.changing("groups/delete", "groups/"+id).DeleteGroup(c.Context(), id))
}

func listMembers(c *call) (any, error) {
	g, err := c.group()
	if err != nil {
		return nil, err
	}
	var all []object
	for _, m := range g.Members {
		o := c.find(m)
		if o == nil { // of another issuer, and never seen here
			o = as("directoryObject", object{"id": m, "displayName": m})
		}
		all = append(all, o)
	}
	return c.collection(all)
}

// addMember: the member is named by a link to it. One that is not known may be a user
// or group of another issuer.
func addMember(c *call) (any, error) {
	var b map[string]string
	if err := c.body(&b); err != nil {
		return nil, err
	}
	link := strings.TrimSuffix(b["@odata.id"], "/")
	member := link[strings.LastIndexByte(link, '/')+1:]
	id := c.PathValue("id")
	if member == "" || len(member) > maxName || strings.EqualFold(member, id) {
		return nil, failure(400, "Request_BadRequest", "@odata.id must be a link to the object that becomes a member, other than the group itself.")
	}
	return nil, explain(c.changing("groups/members/write", "groups/"+id).AddMember(c.Context(), id, member))
}

func removeMember(c *call) (any, error) {
	id := c.PathValue("id")
	return nil, explain(c.changing("groups/members/delete", "groups/"+id).RemoveMember(c.Context(), id, c.PathValue("member")))
}

func memberGroups(c *call) (any, error) {
	id := c.PathValue("id")
	if u, ok := c.user(id); ok {
		id = u.ObjectID
	}
	return c.ids(append([]string{}, c.set.Rights.MemberOf(id)...))
}

func checkMemberGroups(c *call) (any, error) {
	var b struct{ GroupIDs []string }
	if err := c.body(&b); err != nil {
		return nil, err
	}
	in := []string{}
	for _, g := range b.GroupIDs {
		if slices.Contains(c.set.Rights.MemberOf(c.PathValue("id")), strings.ToLower(g)) {
			in = append(in, g)
		}
	}
	return c.ids(in)
}

func (c *call) ids(ids []string) (any, error) {
	return map[string]any{"@odata.context": "https://" + c.Host + version + "/$metadata#Collection(Edm.String)", "value": ids}, nil
}
