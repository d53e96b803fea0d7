package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/template"
)

// typed is a parameter or an output as clients see it; a secure one has no value.
type typed struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value,omitempty"`
}

type resourceView struct {
	ID   string `json:"id"`
	Type string `json:"resourceType,omitempty"`
	Name string `json:"resourceName,omitempty"`
}

type dependency struct {
	DependsOn []resourceView `json:"dependsOn"`
	resourceView
}

type providerView struct {
	Namespace string             `json:"namespace"`
	Types     []providerTypeView `json:"resourceTypes"`
}

type providerTypeView struct {
	Type      string   `json:"resourceType"`
	Locations []string `json:"locations"`
}

// properties is what GET shows from the start; the end adds to it.
type properties struct {
	TemplateHash  string           `json:"templateHash"`
	Parameters    map[string]typed `json:"parameters,omitempty"`
	Mode          string           `json:"mode"`
	Timestamp     time.Time        `json:"timestamp"`
	Duration      string           `json:"duration"`
	CorrelationID string           `json:"correlationId,omitempty"`
	Providers     []providerView   `json:"providers"`
	Dependencies  []dependency     `json:"dependencies"`
}

func (p *prepared) view() properties {
	v := properties{TemplateHash: hash(strings.TrimSpace(p.Template)), Mode: "Incremental", Timestamp: p.Started, Duration: "PT0S", CorrelationID: p.correlation,
		Parameters: map[string]typed{}, Providers: []providerView{}, Dependencies: []dependency{}}
	for _, g := range p.plan.Parameters {
		one := typed{Type: g.Type}
		if !g.Secure() {
			one.Value = json.RawMessage(g.Value.JSON())
		}
		v.Parameters[g.Name] = one
	}
	for _, r := range p.plan.Resources {
		v.provider(r)
		if len(r.DependsOn) == 0 {
			continue
		}
		d := dependency{resourceView: viewOf(r)}
		for _, i := range r.DependsOn {
			d.DependsOn = append(d.DependsOn, viewOf(p.plan.Resources[i]))
		}
		v.Dependencies = append(v.Dependencies, d)
	}
	return v
}

func viewOf(r *template.Resource) resourceView {
	return resourceView{ID: r.ID.String(), Type: string(r.Type), Name: r.Name}
}

func (v *properties) provider(r *template.Resource) {
	at := slices.IndexFunc(v.Providers, func(p providerView) bool { return strings.EqualFold(p.Namespace, r.Type.Namespace()) })
	if at < 0 {
		at = len(v.Providers)
		v.Providers = append(v.Providers, providerView{Namespace: r.Type.Namespace()})
	}
	p := &v.Providers[at]
	location := r.Body.Find(value.NewKey("location")).Str()
	i := slices.IndexFunc(p.Types, func(t providerTypeView) bool { return strings.EqualFold(t.Type, r.Type.Path()) })
	if i < 0 {
		i = len(p.Types)
		p.Types = append(p.Types, providerTypeView{Type: r.Type.Path(), Locations: []string{}})
	}
	if location != "" && !slices.Contains(p.Types[i].Locations, location) {
		p.Types[i].Locations = append(p.Types[i].Locations, location)
	}
}

// validate is POST …/validate: all of a deployment but doing it.
func (s *service) validate(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	if kind := c.Scope.Kind(); kind != arm.KindResourceGroup && kind != arm.KindSubscription {
		return nil, arm.BadRequest("NotSupported", "", "Deployments are served at resource groups and subscriptions, not at a %s.", kind)
	}
	body, err := decode(c.Request.Body)
	if err != nil {
		return nil, err
	}
	if err := arm.CheckJSON(body); err != nil {
		return nil, err
	}
	id := id(c)
	if !name.MatchString(id.Name()) {
		return nil, arm.BadRequest(arm.CodeInvalidResourceName, id.String(), "The name '%s' of the deployment is not allowed.", id.Name())
	}
	p, err := s.prepare(ctx, id, body, c.Client, c.Runtime.Now())
	if err != nil {
		return nil, err
	}
	type validated struct {
		properties
		State     arm.ProvisioningState `json:"provisioningState"`
		Resources []resourceView        `json:"validatedResources"`
	}
	v := validated{properties: p.view(), State: arm.StateSucceeded, Resources: []resourceView{}}
	for _, r := range p.plan.Resources {
		if !r.Skipped && !r.Existing {
			v.Resources = append(v.Resources, resourceView{ID: r.ID.String()})
		}
	}
	answer := map[string]any{"id": id.String(), "name": id.Name(), "type": Type, "properties": v}
	if p.location != "" {
		answer["location"] = p.location
	}
	return provider.JSON(200, answer)
}

// export is POST …/exportTemplate.
func (s *service) export(_ context.Context, w *provider.Write) (any, error) {
	st, err := readState(w.Doc)
	if err != nil {
		return nil, err
	}
	in, err := s.open(st)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"template": json.RawMessage(in.Template)}, nil
}

// operationView is one resource of a deployment in …/operations.
type operationView struct {
	ID         string              `json:"id"`
	Name       string              `json:"operationId"`
	Properties operationProperties `json:"properties"`
}

type operationProperties struct {
	Operation  string         `json:"provisioningOperation"`
	State      string         `json:"provisioningState"`
	Timestamp  *time.Time     `json:"timestamp,omitempty"`
	Duration   string         `json:"duration,omitempty"`
	TrackingID string         `json:"trackingId,omitempty"`
	StatusCode string         `json:"statusCode,omitempty"`
	Message    map[string]any `json:"statusMessage,omitempty"`
	Target     *resourceView  `json:"targetResource,omitempty"`
}

func (s *service) steps(ctx context.Context, c *provider.Call) ([]operationView, error) {
	id := id(c)
	d, err := store.Get(ctx, c.Runtime.Store, id.Key())
	if err != nil || !d.Type.Equal(Type) {
		return nil, arm.Errorf(404, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name()).At(id.String())
	}
	st, err := readState(d)
	if err != nil {
		return nil, err
	}
	views := []operationView{}
	for i, one := range st.Steps {
		if one.State != waiting && one.State != skipped {
			views = append(views, one.view(d.ID, operationName(d.ID, i), st.Correlation, c.Runtime.Now()))
		}
	}
	return views, nil
}

// operationName is a stable name for the i-th resource of a deployment.
func operationName(id string, i int) string { return hash(strings.ToLower(id) + "/" + strconv.Itoa(i)) }

func (one step) view(deployment, name, correlation string, now time.Time) operationView {
	state, end := one.State, one.End
	if state == asked {
		state = running
	}
	if end == nil {
		end = &now
	}
	v := operationView{ID: deployment + "/operations/" + name, Name: name, Properties: operationProperties{
		Operation: "Create", State: state, Timestamp: end, TrackingID: correlation, Target: &resourceView{one.ID, one.Type, one.Name}}}
	if one.Start != nil {
		v.Properties.Duration = duration(end.Sub(*one.Start))
	}
	if one.Status != 0 {
		v.Properties.StatusCode = strings.ReplaceAll(http.StatusText(one.Status), " ", "")
	}
	if one.Error != nil {
		v.Properties.Message = map[string]any{"status": "Failed", "error": one.Error}
	}
	return v
}

// duration is ISO 8601's form.
func duration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(max(d, 0).Seconds(), 'f', -1, 64) + "S"
}

func (s *service) operations(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	views, err := s.steps(ctx, c)
	if err != nil {
		return nil, err
	}
	return provider.Page(c, views)
}

func (s *service) operation(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	views, err := s.steps(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.Name == c.Vars["operation"] {
			return provider.JSON(200, v)
		}
	}
	return nil, arm.Errorf(404, "DeploymentOperationNotFound", "%s", fmt.Sprintf("The deployment '%s' has no operation '%s'.", c.Vars["deployment"], c.Vars["operation"]))
}
