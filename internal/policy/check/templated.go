package check

import (
	"fmt"
	"os"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/template"
)

// template expands an ARM template as far as is known without deploying it. In a
// folder, the parameters come from NAME.parameters.json beside it.
func (r *reader) template(name, text string, asked bool) error {
	t, err := template.Parse(text)
	if err != nil {
		return fmt.Errorf("%s:\n%w", name, err)
	}
	parameters, err := r.parametersFor(name, asked)
	if err != nil {
		return err
	}
	plan, err := t.Expand(r.context(), parameters)
	if err != nil {
		return fmt.Errorf("%s:\n%w", name, err)
	}
	return r.expanded(name, t, plan)
}

// context is what is known of the deployment: hardly anything.
func (r *reader) context() template.Context {
	p := r.options.Place
	subscription, group := p.Subscription, p.ResourceGroup
	if subscription == "" {
		subscription = noSubscription
	}
	if group == "" {
		group = noGroup
	}
	c := template.Context{Scope: arm.ResourceGroupID(subscription, group), Partial: true}
	if p.Subscription != "" && p.ResourceGroup != "" && r.options.Location != "" {
		c.ResourceGroup = value.FromFields([]value.Field{{Key: "id", Value: value.FromString(c.Scope.String())},
			{Key: "name", Value: value.FromString(group)}, {Key: "location", Value: value.FromString(r.options.Location)}})
	}
	return c
}

func (r *reader) parametersFor(name string, asked bool) (value.Value, error) {
	if asked && !r.options.Parameters.IsUndefined() {
		return r.options.Parameters, nil
	}
	beside := strings.TrimSuffix(name, ".json") + ".parameters.json"
	text, err := os.ReadFile(beside)
	if err != nil {
		return value.Value{}, nil //nolint:nilerr // a template without a file of parameters
	}
	v, err := template.ParameterFile(string(text))
	if err != nil {
		return v, fmt.Errorf("%s: %w", beside, err)
	}
	return v, nil
}

func (r *reader) expanded(name string, t *template.Template, plan *template.Plan) error {
	secrets := plan.Secrets()
	for _, res := range plan.Resources {
		switch {
		case res.Skipped || res.Existing:
			continue
		case res.Nested != nil:
			if err := r.expanded(name, t, res.Nested); err != nil {
				return err
			}
			continue
		case res.Type.Equal(template.TypeDeployment):
			r.note("%s:%d: the nested deployment %s was not looked at: its template is not known here", name, res.Line, res.Name)
			continue
		}
		if err := r.add(r.templated(name, t, plan, res, secrets)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) templated(name string, t *template.Template, plan *template.Plan, res *template.Resource, secrets []string) *draft {
	d := &draft{version: res.APIVersion, names: strings.Split(res.Name, "/")}
	d.Type, d.File, d.Line, d.Conditional = res.Type, name, res.Line, res.Conditional
	d.Source = res.Path + " (" + string(res.Type) + " " + res.Name + ")"
	d.body = d.cover(res.Body, "", res.Open, secrets).With("name", value.FromString(res.Name))
	if expr.IsExpression(res.Name) {
		d.names = nil
		d.hide("name")
		d.body = d.body.Without("name")
	}
	place := r.options.Place
	if place.Subscription != "" && place.ResourceGroup != "" && !res.ID.IsRoot() && !d.unknownAt("name") {
		d.id = res.ID.String()
	}
	d.tenant = plan.Scope.Kind() == arm.KindSubscription
	d.locate = func(address string) (string, int) {
		return name, lineIn(t.Text(), t.Root(), res.Path+"."+address)
	}
	return d
}

// cover takes out what is not known: expressions that stayed text, and secrets.
func (d *draft) cover(v value.Value, at string, open bool, secrets []string) value.Value {
	switch v.Kind() {
	case value.String:
		if open && expr.IsExpression(v.Str()) || holdsSecret(v.Str(), secrets) {
			d.hide(at)
			return value.Value{}
		}
	case value.Array:
		elems := make([]value.Value, v.Len())
		for i, e := range v.Elems() {
			if elems[i] = d.cover(e, fmt.Sprintf("%s[%d]", at, i), open, secrets); elems[i].IsUndefined() {
				elems[i] = value.NullValue
			}
		}
		return value.FromSlice(elems)
	case value.Object:
		var fields []value.Field
		for i := range v.Len() {
			if key := v.Key(i); open && expr.IsExpression(key) {
				d.hide(at)
			} else if member := d.cover(v.At(i), under(at, key), open, secrets); !member.IsUndefined() {
				fields = append(fields, value.Field{Key: key, Value: member})
			}
		}
		return value.FromFields(fields)
	}
	return v
}

func under(at, key string) string {
	switch {
	case strings.ContainsAny(key, ".[]'") || at == "tags":
		return at + "['" + key + "']"
	case at == "":
		return key
	}
	return at + "." + key
}

func holdsSecret(text string, secrets []string) bool {
	for _, s := range secrets {
		if text == s || len(s) > 2 && strings.Contains(text, s) {
			return true
		}
	}
	return false
}
