package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/template"
)

// inputs is all that a plan depends on. It is recorded when the deployment is
// accepted, and sealed: parameters may be secret, and so may what an outer template
// has written into a nested one.
type inputs struct {
	Template   string
	Parameters json.RawMessage // {"name": value}: defaults evaluated, so that newGuid() and utcNow() do not change
	Location   string
	Started    time.Time

	Subscription, ResourceGroup json.RawMessage // what the functions of these names say
	Deployer                    json.RawMessage
}

// prepared is an accepted request.
type prepared struct {
	request
	inputs
	plan        *template.Plan
	correlation string
}

// load checks everything that can be checked before a deployment starts.
func (s *service) load(ctx context.Context, w *provider.Write) error {
	if w.Old != nil && !w.Old.State().Terminal() {
		return arm.Conflict("DeploymentActive", w.ID.String(), "Unable to edit or replace deployment '%s': previous deployment from '%s' is still active. Cancel it or wait until it has ended. Please see https://aka.ms/arm-deploy for usage details.",
			w.ID.Name(), w.Old.UpdatedAt.Format(time.RFC3339))
	}
	p, err := s.prepare(ctx, w.ID, w.Request, w.Client, w.Now)
	if err != nil {
		return err
	}
	if w.Old != nil && !strings.EqualFold(arm.GetString(w.Old.Body, "location"), p.location) {
		return arm.Conflict("InvalidDeploymentLocation", "location", "Invalid deployment location '%s'. The deployment '%s' already exists in location '%s'.",
			p.location, w.ID.Name(), arm.GetString(w.Old.Body, "location"))
	}
	w.Loaded = p
	return nil
}

// prepare expands the template, and asks for each resource whether the caller may
// make it and the policies let it through.
func (s *service) prepare(ctx context.Context, id arm.ID, body json.RawMessage, client provider.Client, now time.Time) (*prepared, error) {
	r, errs := read(body)
	if id.Scope().Kind() == arm.KindSubscription && r.location == "" {
		errs = append(errs, arm.BadRequest(arm.CodeLocationRequired, "location", "The 'location' property must be specified for '%s'. Please see https://aka.ms/deploy-to-subscription for usage details.", id.Name()))
	}
	if len(errs) > 0 {
		return nil, arm.Join(errs)
	}
	p := &prepared{request: r, correlation: correlation.ID(ctx)}
	p.inputs = inputs{Template: r.template, Location: r.location, Started: now}
	if err := s.surroundings(ctx, id, client, &p.inputs); err != nil {
		return nil, err
	}
	var err error
	if p.plan, err = s.expand(ctx, id, p.inputs, r.parameters, client); err != nil {
		return nil, err
	}
	if p.Parameters, err = bound(p.plan); err != nil {
		return nil, err
	}
	if err := preflight(ctx, p.plan, client); err != nil {
		return nil, masked(arm.AsError(err), p.plan.Secrets())
	}
	return p, nil
}

// bound is the plan's parameters with the values that they have.
func bound(p *template.Plan) (json.RawMessage, error) {
	var fields []value.Field
	for _, g := range p.Parameters {
		fields = append(fields, value.Field{Key: g.Name, Value: g.Value})
	}
	return value.FromFields(fields).MarshalJSON()
}

// surroundings reads what templates may ask about where they are deployed. That is
// no secret to somebody who may deploy there.
func (s *service) surroundings(ctx context.Context, id arm.ID, client provider.Client, in *inputs) error {
	system := client.As(identity.System)
	sub, err := system.Get(ctx, arm.SubscriptionID(id.Subscription()))
	if err != nil {
		return err
	}
	in.Subscription, err = json.Marshal(map[string]any{"id": "/subscriptions/" + id.Subscription(), "subscriptionId": id.Subscription(), "tenantId": s.TenantID,
		"displayName": arm.GetString(sub, "displayName")})
	if err != nil {
		return err
	}
	if g := id.ResourceGroup(); g != "" {
		if in.ResourceGroup, err = system.Get(ctx, arm.ResourceGroupID(id.Subscription(), g)); err != nil {
			return err
		}
		in.ResourceGroup = arm.Remove(in.ResourceGroup, "systemData")
	}
	who := client.Principal()
	in.Deployer, err = json.Marshal(map[string]string{"objectId": who.ObjectID, "tenantId": s.TenantID})
	return err
}

// expand makes the plan of inputs; its errors are ARM's.
func (s *service) expand(ctx context.Context, id arm.ID, in inputs, parameters value.Value, client provider.Client) (*template.Plan, error) {
	t, err := template.Parse(in.Template)
	if err != nil {
		return nil, invalid(err)
	}
	context := template.Context{
		Scope: id.Scope(), Deployment: id.Name(), Location: in.Location, Now: in.Started, NewGUID: uuid.NewString,
		Subscription: parsed(in.Subscription), ResourceGroup: parsed(in.ResourceGroup), Deployer: parsed(in.Deployer),
		Tenant: parsed(fmt.Appendf(nil, `{"tenantId":%q,"countryCode":"","displayName":"Hallmark"}`, s.TenantID)), Environment: s.environment(),
		Provider: func(namespace string) value.Value {
			raw, err := client.As(identity.System).Read(ctx, arm.SubscriptionID(id.Subscription()).String()+"/providers/"+namespace)
			if err != nil {
				return value.Value{}
			}
			return parsed(raw)
		},
	}
	plan, err := t.Expand(context, parameters)
	if err != nil {
		return nil, masked(invalid(err), t.Secrets(parameters))
	}
	return plan, nil
}

func parsed(raw json.RawMessage) value.Value {
	v, err := value.Parse(string(raw))
	if err != nil {
		return value.Value{}
	}
	return v
}

func (s *service) environment() value.Value {
	u := strings.TrimSuffix(s.URL, "/")
	raw, err := json.Marshal(map[string]any{
		"name": "Hallmark", "gallery": u + "/", "graph": u + "/graph/", "portal": u + "/", "graphAudience": u + "/graph/", "resourceManager": u + "/",
		"authentication": map[string]any{"loginEndpoint": u + "/adfs/", "audiences": []string{u + "/"}, "tenant": "common", "identityProvider": "ADFS"},
		"suffixes":       map[string]string{"storage": "local.invalid", "keyvaultDns": ".vault.local.invalid"},
	})
	if err != nil {
		return value.Value{}
	}
	return parsed(raw)
}

// preflight asks for every resource that is known already, those of nested deployments
// included, whether its write would be let through.
func preflight(ctx context.Context, plan *template.Plan, client provider.Client) error {
	f := findings{}
	f.check(ctx, plan, client)
	switch all := append(append(f.rights, f.policies...), f.others...); {
	case len(all) == 0:
		return nil
	case len(f.rights) > 0:
		var texts []string
		for _, e := range f.rights {
			texts = append(texts, "'"+e.Message+"'")
		}
		return &arm.Error{Status: http.StatusForbidden, Code: "InvalidTemplateDeployment", Details: all,
			Message: "Deployment failed with multiple errors: " + strings.Join(texts, ":")}
	case len(f.policies) > 0:
		return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidTemplateDeployment", Details: all,
			Message: "The template deployment failed because of policy violation. Please see details for more information."}
	default:
		return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidTemplateDeployment", Details: all,
			Message: "The template deployment is not valid according to the validation procedure. See inner errors for details."}
	}
}

type findings struct{ rights, policies, others []*arm.Error }

func (f *findings) check(ctx context.Context, plan *template.Plan, client provider.Client) {
	for _, r := range plan.Resources {
		switch {
		case r.Nested != nil:
			f.check(ctx, r.Nested, client)
			continue
		case r.Skipped, r.Existing, r.Conditional, r.Open, r.ID.IsRoot(), ctx.Err() != nil:
			continue
		}
		c := client
		c.APIVersion = r.APIVersion
		err := c.Check(ctx, r.ID, json.RawMessage(r.Body.JSON()))
		if err == nil {
			continue
		}
		e := *arm.AsError(err)
		switch {
		case e.Status >= 500:
			continue // the write itself will say
		case e.Code == arm.CodeAuthorizationFailed:
			e.Message = fmt.Sprintf("Authorization failed for template resource '%s' of type '%s'. %s", r.Name, r.Type, e.Message)
			f.rights = append(f.rights, &e)
		case e.Code == "RequestDisallowedByPolicy":
			f.policies = append(f.policies, &e)
		default:
			f.others = append(f.others, about(r.ID.String(), &e))
		}
	}
}

// about is an error that says which resource it is about, whatever its own target.
func about(id string, e *arm.Error) *arm.Error {
	if e.Target == "" || strings.EqualFold(e.Target, id) {
		c := *e
		c.Target = id
		return &c
	}
	return &arm.Error{Code: e.Code, Message: e.Message, Target: id, Details: []*arm.Error{e}}
}
