package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// maxExported is how many resources Azure puts into one exported template.
const maxExported = 200

const exportPattern = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/exportTemplate"

// exportRoute makes a template of what is in a group: what clients may write of each
// resource, as it is stored, with literal names and ids. Secrets are not in it, and
// deploying it anew asks for them.
func (p *Pipeline) exportRoute() Route {
	return Route{Method: http.MethodPost, Pattern: exportPattern, Permission: "Microsoft.Resources/subscriptions/resourceGroups/exportTemplate/action", Handle: p.export}
}

type exported struct {
	Template struct {
		Schema         string            `json:"$schema"`
		ContentVersion string            `json:"contentVersion"`
		Parameters     struct{}          `json:"parameters"`
		Variables      struct{}          `json:"variables"`
		Resources      []json.RawMessage `json:"resources"`
	} `json:"template"`
}

func (p *Pipeline) export(ctx context.Context, c *Call) (*Response, error) {
	var asked struct{ Resources []string }
	if len(c.Request.Body) > 0 {
		if err := json.Unmarshal(c.Request.Body, &asked); err != nil {
			return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "resources", "resources must be [\"*\"] or ids.").Because(err)
		}
	}
	docs, err := store.List(ctx, p.cfg.Store, store.Query{Prefix: c.Scope.Key() + "/"})
	if err != nil {
		return nil, err
	}
	out := exported{}
	out.Template.Schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
	out.Template.ContentVersion, out.Template.Resources = "1.0.0.0", []json.RawMessage{}
	for _, d := range docs {
		t := p.reg.types[d.Type.Key()]
		if t == nil || t.NoPut || t.Hidden || d.Deleting || !wanted(asked.Resources, d) || !c.Allowed(t.permission("read"), d.ARMID()) {
			continue
		}
		r, err := t.template(d)
		if err != nil {
			return nil, err
		}
		out.Template.Resources = append(out.Template.Resources, r)
	}
	if n := len(out.Template.Resources); n > maxExported {
		return nil, arm.BadRequest("ExportTemplateTooManyResources", "resources", "The template would have %d resources; at most %d can be exported at once. Name some of them.", n, maxExported)
	}
	return JSON(http.StatusOK, out)
}

func wanted(ids []string, d *store.Document) bool {
	return len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return id == "*" || strings.EqualFold(strings.TrimRight(id, "/"), d.ID) })
}

// template is a document as an element of a template's resources.
func (t *ResourceType) template(d *store.Document) (json.RawMessage, error) {
	body := d.Body
	for _, path := range append(slices.Clone(always), t.ReadOnly...) {
		body = arm.Remove(body, path)
	}
	id := d.ARMID()
	set := map[string]any{"type": string(t.Type), "apiVersion": t.APIVersions[0], "name": strings.Join(id.Names(), "/")}
	if id.Scope().Kind() == arm.KindResource {
		set["scope"] = strings.TrimPrefix(id.Scope().String(), arm.ResourceGroupID(id.Subscription(), id.ResourceGroup()).String()+"/providers/")
		set["dependsOn"] = []string{id.Scope().String()}
	} else if parent := id.Parent(); parent.Kind() == arm.KindResource {
		set["dependsOn"] = []string{parent.String()}
	}
	for name, v := range set {
		var err error
		if body, err = arm.Set(body, name, v); err != nil {
			return nil, fmt.Errorf("exporting %s: %w", d.ID, err)
		}
	}
	return arm.Arrange(body, "type", "apiVersion", "name", "scope", "location", "dependsOn", "tags", "sku", "kind", "identity", "properties")
}
