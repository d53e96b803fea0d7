package graph

import (
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
)

const (
	maxName    = 256
	maxSecrets = 20 // of one application
)

// named is what an id in the path names: the object id of a service principal, or
// of an application.
func (c *call) named() (directory.Principal, error) {
	id := c.PathValue("id")
	for _, p := range c.set.Directory.Principals {
		if p.ObjectID != "" && strings.EqualFold(p.ObjectID, id) || p.ApplicationID != "" && strings.EqualFold(p.ApplicationID, id) {
			return p, nil
		}
	}
	return directory.Principal{}, notFound(id)
}

// application is like named, for what can be changed: managed identities belong to
// their resources.
func (c *call) application() (directory.Principal, error) {
	p, err := c.named()
	if err == nil && p.Kind != directory.Application {
		err = failure(400, "Request_BadRequest", "'%s' is a managed identity: it comes and goes with the resource %s, and has no secrets.", p.DisplayName, p.Resource)
	}
	return p, err
}

func listPrincipals(c *call) (any, error) {
	var all []object
	for _, p := range c.set.Directory.Principals {
		if p.ObjectID != "" {
			all = append(all, servicePrincipal(p, c.cfg.Directory.TenantID()))
		}
	}
	return c.collection(all)
}

func listApplications(c *call) (any, error) {
	var all []object
	for _, p := range c.set.Directory.Principals {
		if p.ApplicationID != "" {
			all = append(all, application(p))
		}
	}
	return c.collection(all)
}

func showPrincipal(c *call) (any, error) {
	p, err := c.named()
	if err == nil && !strings.EqualFold(p.ObjectID, c.PathValue("id")) {
		err = notFound(c.PathValue("id"))
	}
	return servicePrincipal(p, c.cfg.Directory.TenantID()), err
}

func showApplication(c *call) (any, error) {
	p, err := c.named()
	if err == nil && !strings.EqualFold(p.ApplicationID, c.PathValue("id")) {
		err = notFound(c.PathValue("id"))
	}
	return application(p), err
}

// applicationBody is what clients send of an application or service principal.
type applicationBody struct {
	AppID          string
	DisplayName    *string
	IdentifierURIs []string
	Tags           []string
	KeyCredentials []any
}

func (b applicationBody) check() error {
	switch {
	case len(b.KeyCredentials) > 0:
		return failure(400, "Request_BadRequest", "Certificates are not supported here: use a secret.")
	case b.DisplayName != nil && (*b.DisplayName == "" || len(*b.DisplayName) > maxName):
		return failure(400, "Request_BadRequest", "Invalid value specified for property 'displayName': it must have from 1 to %d characters.", maxName)
	}
	return nil
}

func (b applicationBody) apply(p *directory.Principal) error {
	if b.DisplayName != nil {
		p.DisplayName = *b.DisplayName
	}
	if b.IdentifierURIs != nil {
		p.URIs = b.IdentifierURIs
	}
	if b.Tags != nil {
		p.Tags = b.Tags
	}
	return nil
}

func createApplication(c *call) (any, error) {
	var b applicationBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	if b.DisplayName == nil {
		return nil, failure(400, "Request_BadRequest", "A value is required for property 'displayName' of resource 'Application'.")
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	p := directory.Principal{AppID: identity.NewID(), ApplicationID: identity.NewID(), Kind: directory.Application, Created: c.cfg.Now().UTC()}
	if err := b.apply(&p); err != nil {
		return nil, err
	}
	c.status = 201
	return application(p), c.changing("applications/write", "applications/"+p.ApplicationID).Add(c.Context(), p)
}

func createPrincipal(c *call) (any, error) {
	var b applicationBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	id := identity.NewID()
	p, err := c.changing("servicePrincipals/write", "servicePrincipals/"+id).Edit(c.Context(), b.AppID, func(p *directory.Principal) error {
		if p.ObjectID != "" {
			return failure(409, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", b.AppID)
		}
		p.ObjectID = id
		return nil
	})
	if err != nil {
		return nil, unknownApp(err, b.AppID)
	}
	c.status = 201
	return servicePrincipal(p, c.cfg.Directory.TenantID()), nil
}

func unknownApp(err error, appID string) error {
	if e := explain(err); e != err {
		return failure(400, "Request_BadRequest", "The appId '%s' of the service principal does not reference a valid application object.", clip(appID))
	}
	return err
}

func updateApplication(c *call) (any, error) { return c.update("applications") }
func updatePrincipal(c *call) (any, error)   { return c.update("servicePrincipals") }

func (c *call) update(kind string) (any, error) {
	var b applicationBody
	p, err := c.application()
	if err == nil {
		err = c.body(&b)
	}
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, err
	}
	_, err = c.changing(kind+"/write", kind+"/"+c.PathValue("id")).Edit(c.Context(), p.AppID, b.apply)
	return nil, explain(err)
}

// deletePrincipal takes the service principal of an application away; it can sign in
// no more.
func deletePrincipal(c *call) (any, error) {
	p, err := c.application()
	if err != nil {
		return nil, err
	}
	_, err = c.changing("servicePrincipals/delete", "servicePrincipals/"+p.ObjectID).Edit(c.Context(), p.AppID, func(p *directory.Principal) error {
		p.ObjectID = ""
		return nil
	})
	return nil, explain(err)
}

func deleteApplication(c *call) (any, error) {
	p, err := c.application()
	if err != nil {
		return nil, err
	}
	return nil, explain(c.changing("applications/delete", "applications/"+p.ApplicationID).Delete(c.Context(), p.AppID))
}

func addPassword(c *call) (any, error) {
	var b struct {
		PasswordCredential struct {
			DisplayName string
			EndDateTime *time.Time
		}
	}
	p, err := c.application()
	if err == nil && c.ContentLength != 0 {
		err = c.body(&b)
	}
	if err != nil {
		return nil, err
	}
	if len(p.Secrets) >= maxSecrets {
		return nil, failure(400, "Request_BadRequest", "The application has %d secrets; remove one first.", len(p.Secrets))
	}
	now := c.cfg.Now()
	expires := now.AddDate(2, 0, 0) // Graph's default
	if b.PasswordCredential.EndDateTime != nil {
		expires = *b.PasswordCredential.EndDateTime
	}
	text, secret, err := c.changing("applications/addPassword", "applications/"+p.ApplicationID).AddSecret(c.Context(), p.AppID, b.PasswordCredential.DisplayName, now, expires)
	if err != nil {
		return nil, explain(err)
	}
	answer := password(secret)
	answer["secretText"] = text // the only time that it is shown
	return answer, nil
}

func removePassword(c *call) (any, error) {
	var b struct{ KeyID string }
	p, err := c.application()
	if err == nil {
		err = c.body(&b)
	}
	if err != nil {
		return nil, err
	}
	return nil, explain(c.changing("applications/removePassword", "applications/"+p.ApplicationID).RemoveSecret(c.Context(), p.AppID, b.KeyID))
}
