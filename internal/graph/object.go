package graph

import (
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
)

// object is an object of the directory as Graph shows it.
type object map[string]any

func servicePrincipal(p directory.Principal, tenant string) object {
	names := append([]string{p.AppID}, p.URIs...)
	alternative := []string{}
	if p.Kind == directory.ManagedIdentity {
		explicit := "isExplicit=False"
		if strings.Contains(strings.ToLower(p.Resource), "/providers/microsoft.managedidentity/userassignedidentities/") {
			explicit = "isExplicit=True"
		}
		alternative = []string{explicit, p.Resource}
	}
	return object{
		"id": p.ObjectID, "appId": p.AppID, "displayName": p.DisplayName, "appDisplayName": p.DisplayName, "accountEnabled": true,
		"servicePrincipalNames": names, "servicePrincipalType": p.Kind, "alternativeNames": alternative, "appOwnerOrganizationId": tenant,
		"createdDateTime": stamp(p.Created), "tags": list(p.Tags), "passwordCredentials": []object{}, "keyCredentials": []object{},
		"appRoles": []object{}, "oauth2PermissionScopes": []object{}, "replyUrls": []string{}, "signInAudience": "AzureADMyOrg",
	}
}

func application(p directory.Principal) object {
	secrets := []object{}
	for _, s := range p.Secrets {
		secrets = append(secrets, password(s))
	}
	return object{
		"id": p.ApplicationID, "appId": p.AppID, "displayName": p.DisplayName, "identifierUris": list(p.URIs), "createdDateTime": stamp(p.Created),
		"tags": list(p.Tags), "passwordCredentials": secrets, "keyCredentials": []object{}, "signInAudience": "AzureADMyOrg",
		"appRoles": []object{}, "requiredResourceAccess": []object{}, "web": object{"redirectUris": []string{}}, "publicClient": object{"redirectUris": []string{}},
		"api": object{"oauth2PermissionScopes": []object{}}, "spa": object{"redirectUris": []string{}},
	}
}

func password(s identity.Secret) object {
	o := object{"keyId": s.KeyID, "displayName": s.DisplayName, "hint": s.Hint, "startDateTime": stamp(s.Created), "endDateTime": nil,
		"customKeyIdentifier": nil, "secretText": nil}
	if !s.Expires.IsZero() {
		o["endDateTime"] = stamp(s.Expires)
	}
	return o
}

func group(g directory.Group) object {
	return object{
		"id": g.ObjectID, "displayName": g.DisplayName, "mailNickname": g.MailNickname, "description": nothingIf(g.Description), "createdDateTime": stamp(g.Created),
		"mailEnabled": false, "securityEnabled": true, "groupTypes": []string{}, "mail": nil,
	}
}

func user(u directory.User) object {
	return object{"id": u.ObjectID, "displayName": u.DisplayName, "userPrincipalName": u.Name, "mail": nil, "createdDateTime": stamp(u.Created),
		"identities": []object{{"signInType": "federated", "issuer": u.Issuer}}}
}

func nothingIf(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func list(s []string) []string { return append([]string{}, s...) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// as adds the type that objects of mixed collections have.
func as(kind string, o object) object {
	o["@odata.type"] = "#microsoft.graph." + kind
	return o
}

// find is an object of any kind by its id, or nil.
func (c *call) find(id string) object {
	d := c.set.Directory
	for _, p := range d.Principals {
		if p.ObjectID != "" && strings.EqualFold(p.ObjectID, id) {
			return as("servicePrincipal", servicePrincipal(p, c.cfg.Directory.TenantID()))
		}
		if p.ApplicationID != "" && strings.EqualFold(p.ApplicationID, id) {
			return as("application", application(p))
		}
	}
	for _, g := range d.Groups {
		if strings.EqualFold(g.ObjectID, id) {
			return as("group", group(g))
		}
	}
	for _, u := range d.Users {
		if strings.EqualFold(u.ObjectID, id) {
			return as("user", user(u))
		}
	}
	return nil
}
