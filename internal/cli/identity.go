package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/federation"
)

const (
	graphPath      = "/graph/v1.0"
	apiRoles       = "2022-04-01"
	typeAssignment = "Microsoft.Authorization/roleAssignments"
	typeRole       = "Microsoft.Authorization/roleDefinitions"
)

func (a *App) identityCommand() *cobra.Command {
	command := &cobra.Command{Use: "identity", Short: "Create service principals and groups, and give them roles (az ad and az role do the same)"}
	command.AddCommand(a.identityCreate(), a.identityList(), a.identitySecret(), a.identityDelete(), a.identityGroup(), a.identityMember(),
		a.identityGrant(), a.identityRevoke(), a.identityRoles(), a.identityID())
	return command
}

// directoryPage is a page of what Microsoft Graph lists.
type directoryPage struct {
	Value []map[string]any `json:"value"`
}

func (s *session) graph(ctx context.Context, method, path string, body, into any) error {
	return s.Do(ctx, azure.Request{Method: method, Path: graphPath + path, APIVersion: "v1.0", Body: body}, into)
}

// find is the object with a display name, or an id of any kind.
func (s *session) find(ctx context.Context, kind, name string) (map[string]any, error) {
	var all directoryPage
	if err := s.graph(ctx, http.MethodGet, "/"+kind, nil, &all); err != nil {
		return nil, err
	}
	var found []map[string]any
	for _, o := range all.Value {
		for _, key := range []string{"id", "appId", "displayName", "userPrincipalName"} {
			if v, _ := o[key].(string); strings.EqualFold(v, name) {
				found = append(found, o)
				break
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, notFound("there is no %s %q", strings.TrimSuffix(kind, "s"), name)
	case 1:
		return found[0], nil
	}
	return nil, usage("%d %s are called %q; name one by its id", len(found), kind, name)
}

// principal is the object id and kind of whatever a name names.
func (s *session) principal(ctx context.Context, name string) (id, kind string, err error) {
	for graphKind, kind := range map[string]string{"servicePrincipals": "ServicePrincipal", "groups": "Group", "users": "User"} {
		o, err := s.find(ctx, graphKind, name)
		if err == nil {
			return fmt.Sprint(o["id"]), kind, nil
		}
		if e, ok := err.(*Error); !ok || e.Code != ExitNothing {
			return "", "", err
		}
	}
	return "", "", notFound("there is no service principal, group or user %q", name)
}

func (a *App) onIdentity(use, short string, args cobra.PositionalArgs, act func(ctx context.Context, s *session, arguments []string) error) *cobra.Command {
	var where scope
	c := &cobra.Command{Use: use, Short: short, Args: args}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		return act(c.Context(), s, arguments)
	}
	return c
}

var identityColumns = []column{{"Name", "displayName"}, {"AppId", "appId"}, {"ObjectId", "id"}, {"Kind", "servicePrincipalType"}}

func (a *App) identityCreate() *cobra.Command {
	var role, at string
	c := a.onIdentity("create NAME", "Create a service principal and print its secret, once", cobra.ExactArgs(1), func(ctx context.Context, s *session, arguments []string) error {
		if role != "" { // before anything is made whose secret would be lost
			if _, err := s.role(ctx, role, at); err != nil {
				return err
			}
		}
		var app, sp, secret map[string]any
		if err := s.graph(ctx, http.MethodPost, "/applications", map[string]string{"displayName": arguments[0]}, &app); err != nil {
			return err
		}
		if err := s.graph(ctx, http.MethodPost, "/servicePrincipals", map[string]any{"appId": app["appId"]}, &sp); err != nil {
			return err
		}
		if err := s.graph(ctx, http.MethodPost, fmt.Sprintf("/applications/%s/addPassword", app["id"]), map[string]any{}, &secret); err != nil {
			return err
		}
		if role != "" {
			if err := s.grant(ctx, fmt.Sprint(sp["id"]), "ServicePrincipal", role, at); err != nil {
				return err
			}
		}
		return a.print(map[string]any{"appId": app["appId"], "objectId": sp["id"], "displayName": arguments[0], "password": secret["secretText"], "tenant": s.Tenant},
			column{"Name", "displayName"}, column{"AppId", "appId"}, column{"ObjectId", "objectId"}, column{"Password", "password"}, column{"Tenant", "tenant"})
	})
	c.Flags().StringVar(&role, "role", "", "a role to give it")
	c.Flags().StringVar(&at, "scope", "", "where the role is given (default: the subscription; / is everything)")
	return c
}

func (a *App) identityList() *cobra.Command {
	return a.onIdentity("list", "List service principals and managed identities", cobra.NoArgs, func(ctx context.Context, s *session, _ []string) error {
		var all directoryPage
		if err := s.graph(ctx, http.MethodGet, "/servicePrincipals", nil, &all); err != nil {
			return err
		}
		return a.print(all.Value, identityColumns...)
	})
}

func (a *App) identitySecret() *cobra.Command {
	return a.onIdentity("secret NAME", "Give a service principal one more secret and print it, once", cobra.ExactArgs(1), func(ctx context.Context, s *session, arguments []string) error {
		app, err := s.find(ctx, "applications", arguments[0])
		if err != nil {
			return err
		}
		var secret map[string]any
		if err := s.graph(ctx, http.MethodPost, fmt.Sprintf("/applications/%s/addPassword", app["id"]), map[string]any{}, &secret); err != nil {
			return err
		}
		return a.print(map[string]any{"appId": app["appId"], "password": secret["secretText"], "keyId": secret["keyId"], "expires": secret["endDateTime"]},
			column{"AppId", "appId"}, column{"Password", "password"}, column{"KeyId", "keyId"}, column{"Expires", "expires"})
	})
}

func (a *App) identityDelete() *cobra.Command {
	return a.onIdentity("delete NAME", "Delete a service principal, or a group", cobra.ExactArgs(1), func(ctx context.Context, s *session, arguments []string) error {
		kind := "applications"
		o, err := s.find(ctx, kind, arguments[0])
		if e, ok := err.(*Error); ok && e.Code == ExitNothing {
			kind = "groups"
			o, err = s.find(ctx, kind, arguments[0])
		}
		if err != nil {
			return err
		}
		return s.graph(ctx, http.MethodDelete, fmt.Sprintf("/%s/%s", kind, o["id"]), nil, nil)
	})
}

func (a *App) identityGroup() *cobra.Command {
	return a.onIdentity("group NAME", "Create a group", cobra.ExactArgs(1), func(ctx context.Context, s *session, arguments []string) error {
		var g map[string]any
		body := map[string]any{"displayName": arguments[0], "mailNickname": arguments[0], "mailEnabled": false, "securityEnabled": true}
		if err := s.graph(ctx, http.MethodPost, "/groups", body, &g); err != nil {
			return err
		}
		return a.print(g, column{"Name", "displayName"}, column{"ObjectId", "id"})
	})
}

func (a *App) identityMember() *cobra.Command {
	var remove bool
	c := a.onIdentity("member GROUP NAME-OR-ID", "Put a principal, user or group into a group", cobra.ExactArgs(2), func(ctx context.Context, s *session, arguments []string) error {
		g, err := s.find(ctx, "groups", arguments[0])
		if err != nil {
			return err
		}
		member, _, err := s.principal(ctx, arguments[1])
		if err != nil && uuid.Validate(arguments[1]) == nil { // of another issuer, not seen yet
			member, err = arguments[1], nil
		}
		if err != nil {
			return err
		}
		if remove {
			return s.graph(ctx, http.MethodDelete, fmt.Sprintf("/groups/%s/members/%s/$ref", g["id"], member), nil, nil)
		}
		return s.graph(ctx, http.MethodPost, fmt.Sprintf("/groups/%s/members/$ref", g["id"]), map[string]string{"@odata.id": graphPath + "/directoryObjects/" + member}, nil)
	})
	c.Flags().BoolVar(&remove, "remove", false, "take it out instead")
	return c
}

// place is the scope that flags name.
func (s *session) place(at string) string {
	switch {
	case at == "/":
		return ""
	case at != "":
		return strings.TrimSuffix(at, "/")
	}
	return s.subscriptionID()
}

func (s *session) grant(ctx context.Context, principal, kind, role, at string) error {
	id, err := s.role(ctx, role, at)
	if err != nil {
		return err
	}
	body := map[string]any{"properties": map[string]string{"roleDefinitionId": id, "principalId": principal, "principalType": kind}}
	return s.Put(ctx, s.place(at)+"/providers/"+typeAssignment+"/"+uuid.NewString(), apiRoles, body, nil)
}

func (s *session) role(ctx context.Context, name, at string) (string, error) {
	roles, err := s.list(ctx, s.place(at)+"/providers/"+typeRole, apiRoles, url.Values{"$filter": {"roleName eq '" + strings.ReplaceAll(name, "'", "''") + "'"}})
	if err != nil {
		return "", err
	}
	if len(roles) == 0 {
		return "", notFound("there is no role %q; az role definition list shows those there are", name)
	}
	return idOf(roles[0]), nil
}

func (a *App) identityGrant() *cobra.Command {
	var at string
	c := a.onIdentity("grant NAME ROLE", "Give a principal, user or group a role", cobra.ExactArgs(2), func(ctx context.Context, s *session, arguments []string) error {
		id, kind, err := s.principal(ctx, arguments[0])
		if err != nil {
			return err
		}
		return s.grant(ctx, id, kind, arguments[1], at)
	})
	c.Flags().StringVar(&at, "scope", "", "where (default: the subscription; / is everything)")
	return c
}

func (a *App) identityRevoke() *cobra.Command {
	var at string
	c := a.onIdentity("revoke NAME ROLE", "Take a role away that was given at the scope", cobra.ExactArgs(2), func(ctx context.Context, s *session, arguments []string) error {
		id, _, err := s.principal(ctx, arguments[0])
		if err != nil {
			return err
		}
		role, err := s.role(ctx, arguments[1], at)
		if err != nil {
			return err
		}
		all, err := s.assignments(ctx, at, id)
		if err != nil {
			return err
		}
		for _, g := range all {
			if strings.EqualFold(g.role, role) && strings.EqualFold(strings.TrimSuffix(g.scope, "/"), s.place(at)) {
				return s.Delete(ctx, g.id, apiRoles)
			}
		}
		return notFound("%s has not the role %s there", arguments[0], arguments[1])
	})
	c.Flags().StringVar(&at, "scope", "", "where (default: the subscription; / is everything)")
	return c
}

type granted struct{ id, role, scope string }

func (s *session) assignments(ctx context.Context, at, principal string) ([]granted, error) {
	items, err := s.list(ctx, s.place(at)+"/providers/"+typeAssignment, apiRoles, url.Values{"$filter": {"principalId eq '" + principal + "'"}})
	var all []granted
	for _, i := range items {
		all = append(all, granted{idOf(i), property(i, "roleDefinitionId"), property(i, "scope")})
	}
	return all, err
}

// property is a text of a document's properties.
func property(document json.RawMessage, name string) string {
	var d struct{ Properties map[string]any }
	_ = json.Unmarshal(document, &d)
	text, _ := d.Properties[name].(string)
	return text
}

func (a *App) identityRoles() *cobra.Command {
	return a.onIdentity("roles NAME", "List the roles of a principal, user or group, those of its groups included", cobra.ExactArgs(1), func(ctx context.Context, s *session, arguments []string) error {
		id, _, err := s.principal(ctx, arguments[0])
		if err != nil {
			return err
		}
		items, err := s.list(ctx, s.subscriptionID()+"/providers/"+typeAssignment, apiRoles, url.Values{"$filter": {"assignedTo('" + id + "')"}})
		if err != nil {
			return err
		}
		roles, err := s.list(ctx, s.subscriptionID()+"/providers/"+typeRole, apiRoles, nil)
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, r := range roles {
			names[idOf(r)] = property(r, "roleName")
		}
		lines := []map[string]string{}
		for _, i := range items {
			lines = append(lines, map[string]string{"role": names[property(i, "roleDefinitionId")], "scope": property(i, "scope"), "principalId": property(i, "principalId")})
		}
		return a.print(lines, column{"Role", "role"}, column{"Scope", "scope"}, column{"PrincipalId", "principalId"})
	})
}

// identityID asks no server: the id follows from the names.
func (a *App) identityID() *cobra.Command {
	var issuer, group, user string
	c := &cobra.Command{Use: "id --issuer URL (--group NAME | --user VALUE)", Short: "Print the object id that a user or group of another issuer has here", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if (group == "") == (user == "") {
				return usage("pass either --group or --user: the value of the token's claim")
			}
			id := federation.Config{Issuer: issuer}.GroupID(group)
			if user != "" {
				id = federation.Config{Issuer: issuer}.ObjectID(user)
			}
			return a.print(map[string]string{"id": id}, column{"ObjectId", "id"})
		}}
	c.Flags().StringVar(&issuer, "issuer", "", "the issuer's URL, as in config.yaml")
	c.Flags().StringVar(&group, "group", "", "a value of the groups claim")
	c.Flags().StringVar(&user, "user", "", "the value of the object id's claim")
	_ = c.MarkFlagRequired("issuer")
	return c
}
